@echo off
rem Make a lossless workspace/result.mp4 with the destination's sound, and result_mask.mp4.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "8_merged_to_mp4_lossless.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" videoed video-from-sequence --input-dir "%WORKSPACE%\data_dst\merged" --output-file "%WORKSPACE%\result.mp4" --reference-file "%WORKSPACE%\data_dst.*" --include-audio --lossless %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
"%PYTHON%" "%REPO%\main.py" videoed video-from-sequence --input-dir "%WORKSPACE%\data_dst\merged_mask" --output-file "%WORKSPACE%\result_mask.mp4" --reference-file "%WORKSPACE%\data_dst.*" --lossless %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
