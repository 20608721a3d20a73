@echo off
rem Make workspace/result.avi with the destination's sound, and result_mask.avi.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "8_merged_to_avi.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" videoed video-from-sequence --input-dir "%WORKSPACE%\data_dst\merged" --output-file "%WORKSPACE%\result.avi" --reference-file "%WORKSPACE%\data_dst.*" --include-audio %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
"%PYTHON%" "%REPO%\main.py" videoed video-from-sequence --input-dir "%WORKSPACE%\data_dst\merged_mask" --output-file "%WORKSPACE%\result_mask.avi" --reference-file "%WORKSPACE%\data_dst.*" --lossless %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
