@echo off
rem Write a page about the source's faces, and whether they cover the destination's.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "4.2_data_src_util_faceset_report.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" util --input-dir "%WORKSPACE%\data_src\aligned" --report --compare "%WORKSPACE%\data_dst\aligned" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
