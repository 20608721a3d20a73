@echo off
rem Mark by hand the frames whose pictures you deleted from data_dst/aligned_debug.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "5_data_dst_extract_faces_MANUAL_RE-EXTRACT_DELETED_ALIGNED_DEBUG.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" extract --input-dir "%WORKSPACE%\data_dst" --output-dir "%WORKSPACE%\data_dst\aligned" --detector manual --max-faces-from-image 0 --output-debug --manual-output-debug-fix %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
