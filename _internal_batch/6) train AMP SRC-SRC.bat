@echo off
rem Train AMP on the source's faces on both sides, before or between trainings on both persons.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "6_train_AMP_SRC-SRC.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" train --training-data-src-dir "%WORKSPACE%\data_src\aligned" --training-data-dst-dir "%WORKSPACE%\data_src\aligned" --model-dir "%WORKSPACE%\model" --model AMP %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
