@echo off
rem Name the destination's faces after their frames again.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "5.2_data_dst_util_recover_original_filename.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" util --input-dir "%WORKSPACE%\data_dst\aligned" --recover-original-aligned-filename %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
