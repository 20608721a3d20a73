@echo off
rem Turn the destination's faceset.pak back into separate files.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "5.2_data_dst_util_faceset_unpack.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" util --input-dir "%WORKSPACE%\data_dst\aligned" --unpack-faceset %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
