# course: given
# What SSP Cloud (Onyxia) runs as `bash -s -- <notebook>` when a service starts: it fetches the course
# into the work folder, installs it, and lets JupyterLab open the notebook named by the first argument
# (notebooks/01_online_softmax.ipynb, say). A course that is there already is left as it is.
set -euo pipefail

repository="{{STUDENT_REPOSITORY}}"
notebook="${1:-notebooks/00_triton_basics.ipynb}"
work="${WORKSPACE_DIR:-/home/onyxia/work}"
name="$(basename "$repository" .git)"
course="$work/$name"

if [ ! -e "$course" ]; then
    git clone --quiet --depth 1 "$repository" "$course"
fi
python -m pip install --quiet --editable "$course"

settings="${JUPYTER_CONFIG_DIR:-$HOME/.jupyter}"
mkdir -p "$settings"
echo "c.LabApp.default_url = '/lab/tree/$name/$notebook'" >> "$settings/jupyter_server_config.py"

if [ "$(id -u)" = 0 ] && id onyxia > /dev/null 2>&1; then
    chown -R onyxia:users "$course"
fi
