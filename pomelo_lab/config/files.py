"""How Hydra reads config files: each once in a process, with suites that go together and one-line errors of yaml."""

from __future__ import annotations

import copy
import dataclasses
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pomelo_lab.config.entry import CONF
from pomelo_lab.config.suites import broken_yaml, find_clashes, make_distinct


@functools.cache
def replace_reader() -> None:
    """Replaces the function with which Hydra reads files. Hydra's sources of configs are plugins, which it lists.

    Hydra copies its sources for each group that the help lists, and with them its store of schemas. The copies share
    the store from then on: it copies what it returns. A composition takes as long as before.
    """
    import yaml
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins
    from hydra.plugins.config_source import ConfigSource

    source = next(kind for kind in Plugins.instance().discover(ConfigSource) if kind.scheme() == "file")
    read, results = source.load_config, {}

    def load_config(self: Any, config_path: str) -> Any:
        file = Path(self.path, f"{config_path.removesuffix('.yaml')}.yaml").resolve()
        changed = file.stat().st_mtime_ns
        if (file, changed) not in results:
            try:
                result = read(self, config_path)
            except (yaml.YAMLError, UnicodeError) as error:
                raise broken_yaml(file, error) from None
            if not file.is_relative_to(CONF):
                merge_suites(result.config, file, [self.path])
            results[file, changed] = result
        result = results[file, changed]
        return dataclasses.replace(
            result, provider=self.provider, path=self.full_path(), config=copy.deepcopy(result.config)
        )

    source.load_config = load_config
    ConfigStore.__deepcopy__ = lambda self, memo: self


def merge_suites(config: Any, file: Path, folders: Sequence[str]) -> None:
    """Makes the lists of suites in a defaults list distinct, as those of a command line are.

    Args: folders: the user's config folder with the file, whose suites can be named beside those of conf.
    Raises: ConfigCompositionException for two suites with different metrics of one name.
    """
    from hydra.errors import ConfigCompositionException

    defaults = config.get("defaults") if OmegaConf.is_dict(config) else None
    for entry in defaults if OmegaConf.is_list(defaults) else ():
        for group, names in entry.items() if OmegaConf.is_dict(entry) else ():
            if re.fullmatch(r"(override +)?/?metrics", str(group)) and OmegaConf.is_list(names):
                for clash in find_clashes(names, folders):
                    raise ConfigCompositionException(f"{file}: {clash}")
                entry[group] = make_distinct(names, folders)
