# SPDX-License-Identifier: Apache-2.0
"""Package metadata; the requirements stand in requirements.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def requirements(name: str) -> list[str]:
    lines = (HERE / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-"))]


VERSION = re.search(
    r'__version__ = "([^"]+)"', (HERE / "zaqar/__init__.py").read_text()
)
assert VERSION, "zaqar/__init__.py names no version"

setup(
    name="zaqar",
    version=VERSION[1],
    description="Multi-tenant message queues over HTTP",
    long_description=(HERE / "README.rst").read_text(),
    long_description_content_type="text/x-rst",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["zaqar", "zaqar.*"]),
    package_data={
        "zaqar": ["py.typed"],
        "zaqar.storage.redis": ["scripts/*.lua"],
    },
    install_requires=requirements("requirements.txt"),
    extras_require={
        "cors": ["oslo.middleware>=6.2"],
        "fast": ["granian>=2.5"],
        "keystone": ["keystonemiddleware>=10.9", "python-memcached>=1.59"],
        "mongodb": ["pymongo>=4.6"],
        "redis": ["redis[hiredis]>=5.0", "hiredis>=2.2.1"],
    },
    entry_points={
        "console_scripts": [
            "zaqar-server = zaqar.cli:server",
            "zaqar-gc = zaqar.cli:gc",
            "zaqar-notifier = zaqar.cli:notifier",
            "zaqar-manage = zaqar.manage.cli:main",
            "zaqar-bench = zaqar.bench.cli:main",
        ],
        "zaqar.notification.senders": [
            "http = zaqar.notification.senders.webhook:Webhook",
            "https = zaqar.notification.senders.webhook:Webhook",
            "mailto = zaqar.notification.senders.mail:Mail",
            "trust+http = zaqar.notification.senders.trust:TrustedWebhook",
            "trust+https = zaqar.notification.senders.trust:TrustedWebhook",
        ],
        "oslo.config.opts": ["zaqar = zaqar.conf:list_opts"],
        "oslo.policy.policies": ["zaqar = zaqar.policy:list_rules"],
    },
)
