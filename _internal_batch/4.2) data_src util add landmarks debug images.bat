@echo off
rem Write pictures of the source's faces with their landmarks drawn in, beside the faces.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "4.2_data_src_util_add_landmarks_debug_images.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" util --input-dir "%WORKSPACE%\data_src\aligned" --add-landmarks-debug-images %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
