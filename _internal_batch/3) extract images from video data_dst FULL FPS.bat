@echo off
rem Cut the destination video (workspace/data_dst.*) into frames, all of them.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "3_extract_image_from_data_dst.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" videoed extract-video --input-file "%WORKSPACE%\data_dst.*" --output-dir "%WORKSPACE%\data_dst" --fps 0 %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
