@echo off
rem Find the faces of the destination's frames, all of each frame, with debug pictures.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "5_data_dst_extract_faces_S3FD.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" extract --input-dir "%WORKSPACE%\data_dst" --output-dir "%WORKSPACE%\data_dst\aligned" --detector s3fd --max-faces-from-image 0 --output-debug %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
