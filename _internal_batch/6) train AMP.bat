@echo off
rem Train AMP, whose result can be anything between the two faces, with a preview window.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "6_train_AMP.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" train --training-data-src-dir "%WORKSPACE%\data_src\aligned" --training-data-dst-dir "%WORKSPACE%\data_dst\aligned" --model-dir "%WORKSPACE%\model" --model AMP %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
