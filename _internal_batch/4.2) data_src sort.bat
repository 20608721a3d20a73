@echo off
rem Sort the source's faces by a measure of your choice.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "4.2_data_src_sort.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" sort --input-dir "%WORKSPACE%\data_src\aligned" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
