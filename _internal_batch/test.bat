@echo off
rem Set-up with the tools of the tests, then the tests; words after it go to pytest.
setlocal
set "SETUP_FLAGS=--dev"
call "%~dp0setenv.bat" "test.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
pushd "%REPO%"
if not "%~1"=="" goto chosen
rem A process for each room: TensorFlow keeps the memory that it once took, and all in one need over 20 GB.
for %%P in (core facelib mainscripts merger models samplelib) do "%PYTHON%" -m pytest tests/%%P || set "CODE=1"
"%PYTHON%" -m pytest tests --ignore=tests/core --ignore=tests/facelib --ignore=tests/mainscripts --ignore=tests/merger --ignore=tests/models --ignore=tests/samplelib || set "CODE=1"
goto tested
:chosen
"%PYTHON%" -m pytest %*
set "CODE=%ERRORLEVEL%"
:tested
popd
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
