@echo off
rem Mark the face of each of the destination's frames by hand.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "5_data_dst_extract_faces_MANUAL.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" extract --input-dir "%WORKSPACE%\data_dst" --output-dir "%WORKSPACE%\data_dst\aligned" --detector manual --max-faces-from-image 0 --output-debug %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
