@echo off
rem Remove noise from the destination's frames, in place.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "3.1_denoise_data_dst_images.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" videoed denoise-image-sequence --input-dir "%WORKSPACE%\data_dst" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
