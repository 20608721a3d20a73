@echo off
rem Put the source's faces into one file, faceset.pak.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "4.2_data_src_util_faceset_pack.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" util --input-dir "%WORKSPACE%\data_src\aligned" --pack-faceset %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
