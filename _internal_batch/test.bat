@echo off
rem Set-up with the tools of the tests, then the tests; words after it go to pytest.
setlocal
set "SETUP_FLAGS=--dev"
call "%~dp0setenv.bat" "test.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
pushd "%REPO%"
"%PYTHON%" -m pytest %*
set "CODE=%ERRORLEVEL%"
popd
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
