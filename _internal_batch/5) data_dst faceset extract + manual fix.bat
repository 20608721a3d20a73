@echo off
rem The same, and then mark by hand the frames in which nothing was found.
rem Written by generate.py from scripts.toml: change it there.
setlocal
call "%~dp0setenv.bat" "5_data_dst_extract_faces_S3FD_+_manual_fix.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
"%PYTHON%" "%REPO%\main.py" extract --input-dir "%WORKSPACE%\data_dst" --output-dir "%WORKSPACE%\data_dst\aligned" --detector s3fd --max-faces-from-image 0 --output-debug --manual-fix %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
