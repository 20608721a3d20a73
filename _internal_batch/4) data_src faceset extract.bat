@echo off
rem Find the faces of the source's frames and save them aligned.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "4_data_src_extract_faces_S3FD.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" extract --input-dir "%WORKSPACE%\data_src" --output-dir "%WORKSPACE%\data_src\aligned" --detector s3fd %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
