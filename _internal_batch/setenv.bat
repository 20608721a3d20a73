rem Called by every script: says where things are and has the Python environment made or checked.
rem Where an NVIDIA GPU and WSL2 are found it runs the .sh named first inside WSL2 instead, and sets HANDED_OVER.
rem FACELAB_WORKSPACE, FACELAB_VENV and FACELAB_PYTHON override the workspace, the environment's folder and the Python
rem that it is made from; FACELAB_NO_WSL=1 stays in Windows, FACELAB_NO_PAUSE=1 does not wait for a key at the end.
rem No blocks in parentheses here: folders may have them in their names, and cmd would trip.
chcp 65001 >nul
set "PYTHONUTF8=1"
if not defined TF_CPP_MIN_LOG_LEVEL set "TF_CPP_MIN_LOG_LEVEL=3"
set "HANDED_OVER="
set "HERE=%~dp0"
for %%I in ("%HERE%..") do set "REPO=%%~fI"
if defined FACELAB_WORKSPACE set "WORKSPACE=%FACELAB_WORKSPACE%"
if not defined FACELAB_WORKSPACE set "WORKSPACE=%REPO%\workspace"
if defined FACELAB_VENV set "VENV=%FACELAB_VENV%"
if not defined FACELAB_VENV set "VENV=%REPO%\.venv"
set "PYTHON=%VENV%\Scripts\python.exe"

if defined FACELAB_NO_WSL goto native
where nvidia-smi >nul 2>nul
if errorlevel 1 goto native
where wsl.exe >nul 2>nul
if errorlevel 1 goto nowsl
wsl.exe -e true >nul 2>nul
if errorlevel 1 goto nowsl
echo An NVIDIA GPU was found. TensorFlow uses it only inside WSL2, so this step runs there.
set "HANDED_OVER=1"
set "WSLENV=FACELAB_WORKSPACE/p:FACELAB_CPU_ONLY:%WSLENV%"
set "SCRIPT=%~1"
set "REST="
:collect
shift
if "%~1"=="" goto handover
set REST=%REST% %1
goto collect
:handover
pushd "%HERE%"
wsl.exe -e bash "./%SCRIPT%" %REST%
set "CODE=%ERRORLEVEL%"
popd
exit /b %CODE%

:nowsl
echo An NVIDIA GPU was found, but TensorFlow uses it only inside WSL2, which is not installed.
echo To train on the GPU: run "wsl --install" as administrator, restart Windows, and start this script again.
echo Going on with the processor, which is many times slower.

:native
if not exist "%PYTHON%" goto install
"%PYTHON%" -I -S "%HERE%setup_env.py" check --venv "%VENV%" %SETUP_FLAGS% 2>nul
if not errorlevel 1 goto folders
:install
set "BASE="
set "SUITS=import sys; sys.exit(not ((3, 10) <= sys.version_info[:2] <= (3, 13) and sys.maxsize > 2**32))"
if not defined FACELAB_PYTHON goto launcher
"%FACELAB_PYTHON%" -c "%SUITS%" >nul 2>nul
if not errorlevel 1 set BASE="%FACELAB_PYTHON%"
:launcher
for %%V in (3.12 3.11 3.13 3.10) do call :try py -%%V
call :try python
call :try python3
if not defined BASE goto nopython
%BASE% "%HERE%setup_env.py" install --venv "%VENV%" %SETUP_FLAGS%
if errorlevel 1 exit /b 1
:folders
if not exist "%WORKSPACE%\data_src" mkdir "%WORKSPACE%\data_src"
if not exist "%WORKSPACE%\data_dst" mkdir "%WORKSPACE%\data_dst"
if not exist "%WORKSPACE%\model" mkdir "%WORKSPACE%\model"
exit /b 0

:try
if defined BASE exit /b 0
%* -c "%SUITS%" >nul 2>nul
if not errorlevel 1 set "BASE=%*"
exit /b 0

:nopython
echo error: no Python 3.10 to 3.13 (64 bit) was found; install one: winget install Python.Python.3.12
exit /b 1
