@echo off
rem Cut the source video (workspace/data_src.*) into frames.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "2_extract_image_from_data_src.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" videoed extract-video --input-file "%WORKSPACE%\data_src.*" --output-dir "%WORKSPACE%\data_src" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
