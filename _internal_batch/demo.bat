@echo off
rem The whole job without a question in under ten minutes: demo [SRC.mp4 DST.mp4], or two synthetic people.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "demo.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" demo %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
