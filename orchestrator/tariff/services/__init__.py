"""The services that publish prices, one file each, and which of them a configuration means."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import Misconfigured
from orchestrator.tariff.build import carries_vat
from orchestrator.tariff.services.awattar import Awattar
from orchestrator.tariff.services.base import PriceService
from orchestrator.tariff.services.comed import ComEd
from orchestrator.tariff.services.elprisetjustnu import Elprisetjustnu
from orchestrator.tariff.services.energi_data_service import EnergiDataService
from orchestrator.tariff.services.energy_charts import EnergyCharts
from orchestrator.tariff.services.entsoe import EntsoE
from orchestrator.tariff.services.generic_json import GenericJson
from orchestrator.tariff.services.home_assistant import HomeAssistant
from orchestrator.tariff.services.local_file import LocalFile
from orchestrator.tariff.services.nordpool import NordPool
from orchestrator.tariff.services.octopus import Octopus
from orchestrator.tariff.services.tibber import Tibber
from orchestrator.tariff.table import TariffConfig
from orchestrator.tariff.timezone import zone_of

__all__ = ["PriceService", "read_token", "service_of"]


def service_of(config: TariffConfig) -> PriceService | None:
    """The service of a configuration, set up; None when it names none.

    Raises:
        Misconfigured: its token_file cannot be read.
    """
    area, currency, url = config.area, config.currency, config.url
    token = read_token(config.token_file) if config.token_file and config.service else ""
    match config.service:
        case "energy_charts":
            return EnergyCharts(area, url)
        case "awattar":
            return Awattar(area, url)
        case "nordpool":
            return NordPool(area, currency, url)
        case "elprisetjustnu":
            return Elprisetjustnu(area, currency, url)
        case "octopus":
            return Octopus(config.product, area, carries_vat(config), url)
        case "comed":
            return ComEd(url)
        case "energi_data_service":
            return EnergiDataService(area, currency, url)
        case "tibber":
            return Tibber(token, currency, area, url)
        case "entsoe":
            return EntsoE(area, token, url)
        case "generic_json":
            assert config.paths is not None, "checked with the table"
            zone = zone_of(config.time_zone or "UTC")
            return GenericJson(url, config.paths, currency, zone, token)
        case "home_assistant":
            return HomeAssistant(url, config.entity, token, currency)
        case "csv_file":
            return LocalFile(Path(config.file), currency)
        case "":
            return None


def read_token(file: str) -> str:
    """The token in a file; raises Misconfigured."""
    try:
        token = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Misconfigured(
            f"tariff.token_file {file} cannot be read: {reason}",
            "write the service's token into it (mode 0600)",
        ) from None
    if not token or not token.isascii() or not token.isprintable():
        raise Misconfigured(
            f"tariff.token_file {file} holds no token", "write the service's token into it"
        )
    return token
