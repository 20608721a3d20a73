@echo off
rem Make the destination's faces of another size or face type.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "5.2_data_dst_util_faceset_resize.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" facesettool resize --input-dir "%WORKSPACE%\data_dst\aligned" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
