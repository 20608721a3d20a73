@echo off
rem Cut the source's faces again from the frames, at another size or face type, without detecting again.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "4.2_data_src_util_faceset_realign.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" facesettool realign --input-dir "%WORKSPACE%\data_src\aligned" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
