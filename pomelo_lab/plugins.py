"""Components that installed packages bring: a config folder of each, found through entry points.

A package declares the module whose folder contains `conf`, laid out as ours:

    [project.entry-points."pomelo_lab.plugins"]
    stripes = "pomelo_stripes"

Its configs can then be named as ours can, `explainer=stripes`, and its tables too (`conf/reports/*.yaml`).
"""

from __future__ import annotations

import functools
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

GROUP = "pomelo_lab.plugins"


@functools.cache
def plugin_folders() -> tuple[str, ...]:
    """The config folders of all installed plug-ins, in the order of their names. No module of theirs is imported, but
    the packages around it.

    Raises: ValueError, naming the plug-in, for a module that cannot be found or has no folder `conf`.
    """
    return tuple(_folder(point.name, point.value) for point in sorted(entry_points(group=GROUP), key=lambda p: p.name))


@functools.cache
def show_hydra() -> None:
    """Adds the config folders of plug-ins to the search path of every composition, behind ours."""
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class PluginConfigs(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            for folder in plugin_folders():
                search_path.append("a plug-in of pomelo_lab", f"file://{folder}")

    if plugin_folders():
        Plugins.instance().register(PluginConfigs)


def _folder(name: str, module: str) -> str:
    try:
        spec = find_spec(module)
    except ImportError as error:
        raise ValueError(f"the plug-in {name} names the module {module}, which cannot be found: {error}") from error
    places = list(spec.submodule_search_locations or []) if spec else []
    folder = next((Path(place, "conf") for place in places if Path(place, "conf").is_dir()), None)
    if folder is None:
        raise ValueError(f"the plug-in {name} names {module}; expected a package with a folder `conf` of configs")
    return str(folder.resolve())
