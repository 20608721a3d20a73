@echo off
rem Write a trained SAEHD model as a file for live swapping.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "6_export_SAEHD_as_dfm.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" exportdfm --model-dir "%WORKSPACE%\model" --model SAEHD %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
