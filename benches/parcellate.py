"""`brainscore parcellate` and another program on the same files, in turns: one JSON line per program.

    python parcellate.py BRAINSCORE DIR ATLAS [--turns 5] [--threads N] [--peer "COMMAND"]

DIR is a folder made by make_bold.py, ATLAS the name of an atlas in it. In each turn runs: brainscore without a kept atlas
(cold), with one (warm), then the peer, whose command line gets `DIR/bold.nii.gz DIR/ATLAS --mask DIR/mask.nii.gz` appended.
Reports the median and range of wall seconds, of CPU seconds, and the largest peak memory. The first turn is not counted.
"""
import argparse, json, os, shlex, shutil, statistics, subprocess, tempfile, time
p = argparse.ArgumentParser(); p.add_argument("brainscore"); p.add_argument("dir"); p.add_argument("atlas"); p.add_argument("--turns", type=int, default=5)
p.add_argument("--threads"); p.add_argument("--peer"); a = p.parse_args()
bold, atlas, mask = (os.path.join(a.dir, n) for n in ("bold.nii.gz", a.atlas, "mask.nii.gz"))
work = tempfile.mkdtemp(); seen = {}
def run(name, command):
    start = time.perf_counter(); child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = child.stderr.read(); _, status, usage = os.wait4(child.pid, 0); wall = time.perf_counter() - start
    assert os.waitstatus_to_exitcode(status) == 0, error.decode()
    seen.setdefault(name, []).append((wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))
def ours(name):
    shutil.rmtree(f"{work}/out", ignore_errors=True)
    run(name, [a.brainscore, "parcellate", bold, "--atlas", atlas, "--mask", mask, "--out", f"{work}/out", "--cache", f"{work}/cache"]
        + (["--threads", a.threads] if a.threads else []))
for turn in range(a.turns + 1):
    shutil.rmtree(f"{work}/cache", ignore_errors=True); ours("cold"); ours("warm")
    if a.peer: run("peer", shlex.split(a.peer) + [bold, atlas, "--mask", mask])
    if turn == 0: first = {k: v.pop() for k, v in seen.items()}
    else: print(turn, {k: round(v[-1][0], 2) for k, v in seen.items()}, flush=True)
shutil.rmtree(work)
for name, rows in seen.items():
    wall, cpu, memory = zip(*(rows or [first[name]]))
    print(json.dumps(dict(program=name, wall=round(statistics.median(wall), 2), wall_range=[round(min(wall), 2), round(max(wall), 2)],
                          cpu=round(statistics.median(cpu), 2), peak_mib=round(max(memory)))))
