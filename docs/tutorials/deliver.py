"""Deliver to devices: lists before an event, one small message when a stage begins.

    python docs/tutorials/deliver.py

About a minute; it needs the extra `live`. At a live event many people look at their screen at once.
Their devices fetch the lists of every stage beforehand, at any time. When a stage begins, a message
of a few bytes says which list to show; no model is asked.
"""

import json
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import made_log
from websockets.sync.client import connect

import recsys_posttrain as rp
from recsys_posttrain.live.keys import Claim, read_keys, sign

OURS = [sys.executable, "-m", "recsys_posttrain", "live"]  # recsys-posttrain live ...

# A policy, and the log that says what everybody had.

log = made_log.draw(int(sys.argv[1]) if sys.argv[1:] else 600)[0]
log.to_csv("log.csv", index=False)
data = rp.load(log)
policy, _ = rp.pretrain(data)
reward, _ = rp.train_reward(data)
better, _ = rp.posttrain(policy, data, rp.ASFT(temperature=0.5), reward)
rp.save_policy(better, "my_policy", data)

# The rules say where the live title stands in each stage: nowhere before, first while it runs,
# fourth afterwards. Materialising writes the lists of everybody for every stage, once.

rules = {
    "event": "final",
    "live_title": "film-7",
    "stages": {"before": None, "live": 1, "after": 4},
}
Path("final.json").write_text(json.dumps(rules))
words = ["my_policy", "--rules", "final.json", "--output", "final", "--log", "log.csv", "--k", "5"]
subprocess.run([*OURS, "materialize", *words], check=True)

# The service: prefetch server, producer and gateway in one process. It follows the schedule, a file
# that people may change at any time. Tokens are signed with the secret, which only we may read.

secret = Path("secret")
secret.touch(mode=0o600)
secret.write_text(secrets.token_hex(32))
schedule = {"event": "final", "stages": ["before", "live", "after"], "ended": False}
schedule["starts"] = {"live": "2099-01-01T20:00:00+00:00"}
Path("schedule.json").write_text(json.dumps(schedule))
words = ["final", "--secret-file", "secret", "--schedule", "schedule.json"]
service = subprocess.Popen(
    [*OURS, "serve", *words, "--port", "0", "--gateway-port", "0"],
    stdout=subprocess.PIPE,
    text=True,
)
try:
    assert service.stdout is not None
    printed = [service.stdout.readline() for _ in range(2)]
    urls = dict(re.findall(r"(http|ws)(://\S+)", " ".join(printed)))

    # A device: it fetches its lists with a token that its user got where they signed in.

    token = sign(Claim("u1", "final", time.time() + 3600), read_keys(secret))
    headers = {"Authorization": f"Bearer {token}"}
    address = f"http{urls['http']}/v1/events/final/prefetch"
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
        lists = json.load(answer)["stages"]

    # It waits for messages, and shows the list that each one names.

    gateway = f"ws{urls['ws']}/v1/events/final/updates"
    with connect(gateway, additional_headers=headers) as messages:
        stage = json.loads(messages.recv(timeout=30))["stage"]
        print(f"{stage:<8}", *lists[stage])

        # Somebody says that it begins. The message is all that travels.

        subprocess.run([*OURS, "produce", "schedule.json", "--advance", "live"], check=True)
        message = messages.recv(timeout=30)
        stage = json.loads(message)["stage"]
        print(f"{stage:<8}", *lists[stage], f"   ({len(message)} bytes)")
finally:
    service.terminate()
    service.wait()

# With Redis between them each part is a process, and there are as many gateways as are needed:
# docs/live.md. `make live-demo` plays an event with 500 devices and a killed gateway.
