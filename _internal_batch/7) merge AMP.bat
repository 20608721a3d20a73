@echo off
rem Put the face that AMP predicts into every frame of the destination.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "7_merge_AMP.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" merge --input-dir "%WORKSPACE%\data_dst" --output-dir "%WORKSPACE%\data_dst\merged" --output-mask-dir "%WORKSPACE%\data_dst\merged_mask" --aligned-dir "%WORKSPACE%\data_dst\aligned" --model-dir "%WORKSPACE%\model" --model AMP %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
