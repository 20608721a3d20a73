@echo off
rem Keep a part of a video: give its path, or drop it on this script.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "3_cut_video.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
if not "%~1"=="" goto given
echo Drop a video on this script.
set "CODE=2"
goto end
:given
"%PYTHON%" "%REPO%\main.py" videoed cut-video --input-file "%~1" %2 %3 %4 %5 %6 %7 %8 %9
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
