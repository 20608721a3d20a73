@echo off
rem Make room for the next job: videos stay, and models and faces only go if you say so.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "1_clear_workspace.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" clear-workspace --workspace-dir "%WORKSPACE%" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
