//! An ordinary working day, of which the guard may stop nothing. The inputs of a case
//! are created before it, outside the session, as in reality.

use super::case::{Case, case};

/// 2,000 files on `main`; the branch `far` lacks 1,000 of them, changes 500 and adds 1,000.
const REPOSITORY: &str = r#"
git init -q -b main "$W/r" && cd "$W/r" && mkdir a b
for i in $(seq 1000); do echo "keep $i" > a/$i; echo "leave $i" > b/$i; done
git add . && git commit -qm first && git checkout -q -b far
git rm -qr b && mkdir c && for i in $(seq 1000); do echo "new $i" > c/$i; done
for i in $(seq 500); do echo "changed $i" > a/$i; done
git add . && git commit -qm second && git checkout -q main && echo more > more && git add . && git commit -qm third"#;

/// 500 sources.
const SOURCES: &str = r#"mkdir "$W/src" && for i in $(seq 500); do seq $i $((i + 50)) | sed 's/^/value /' > "$W/src/$i.txt"; done"#;

/// 1,000 scripts that a formatter changes.
const SCRIPTS: &str = r#"mkdir "$W/src" && for i in $(seq 1000); do echo "const a$i={b:1,c:[1,2,3]};function f$i(x){return x+$i}" > "$W/src/$i.js"; done"#;

/// A C program of 200 files.
const C_PROGRAM: &str = r#"mkdir "$W/c" && cd "$W/c" && for i in $(seq 200); do echo "int f$i(void) { return $i; }" > f$i.c; done
printf 'all: $(patsubst %%.c,%%.o,$(wildcard *.c))\n\tar rcs lib.a $^\nclean:\n\trm -f *.o lib.a\n' > Makefile
printf 'cmake_minimum_required(VERSION 3.10)\nproject(p C)\nfile(GLOB s *.c)\nadd_library(p ${s})\n' > CMakeLists.txt"#;

const PACKAGE: &str = r#"mkdir "$W/p" && cd "$W/p" && printf '{"name":"p","version":"1.0.0","private":true,"dependencies":{"lodash":"4.17.21","express":"4.21.2"}}' > package.json && npm install --silent --no-audit --no-fund"#;

const BUNDLE: &str = r#"mkdir "$W/p" && cd "$W/p" && mkdir src && for i in $(seq 200); do echo "export const v$i = $i;" > src/m$i.js; done
(for i in $(seq 200); do echo "export const l$i = () => import('./m$i.js');"; done) > src/index.js
echo '<script type="module" src="/src/index.js"></script>' > index.html; echo '{"name":"p","private":true}' > package.json"#;

const VENV: &str =
    r#"cd "$W" && python3 -m venv .venv && .venv/bin/pip -q install requests pytest"#;

pub(crate) const WORK: &[Case] = &[
    case("npm ci, twice", r#"cd "$W/p" && npm ci --silent --no-audit --no-fund && npm ci --silent --no-audit --no-fund"#).before(PACKAGE).needs(&["npm"]),
    case("npm uninstall and prune", r#"cd "$W/p" && npm uninstall --silent express && npm prune --silent"#).before(PACKAGE).needs(&["npm"]),
    case("pnpm install, twice", r#"cd "$W/p" && "$T/node_modules/.bin/pnpm" install --silent && rm -rf node_modules && "$T/node_modules/.bin/pnpm" install --silent"#)
        .before(r#"mkdir "$W/p" && cd "$W/p" && printf '{"name":"p","private":true,"dependencies":{"lodash":"4.17.21","express":"4.21.2"}}' > package.json && "$T/node_modules/.bin/pnpm" install --silent"#).tool("pnpm", "pnpm@9"),
    case("yarn install, twice", r#"cd "$W/p" && "$T/node_modules/.bin/yarn" install --silent && rm -rf node_modules && "$T/node_modules/.bin/yarn" install --silent"#)
        .before(r#"mkdir "$W/p" && cd "$W/p" && printf '{"name":"p","version":"1.0.0","license":"MIT","private":true,"dependencies":{"lodash":"4.17.21","express":"4.21.2"}}' > package.json && "$T/node_modules/.bin/yarn" install --silent"#).tool("yarn", "yarn@1"),
    case("cargo build and clean", r#"cd "$W/x" && cargo build -q --offline && cargo clean -q && cargo build -q --offline"#)
        .before(r#"cd "$W" && cargo init -q --name x x && cd x && cargo build -q --offline"#).needs(&["cargo"]),
    case("make clean", r#"cd "$W/c" && make -s clean && make -s"#).before(r#"mkdir "$W/c" && cd "$W/c" && for i in $(seq 200); do echo "int f$i(void) { return $i; }" > f$i.c; done
printf 'all: $(patsubst %%.c,%%.o,$(wildcard *.c))\n\tar rcs lib.a $^\nclean:\n\trm -f *.o lib.a\n' > Makefile; make -s"#).needs(&["make", "cc"]),
    case("cmake rebuild", r#"cd "$W/c" && rm -rf build && cmake -B build > /dev/null && cmake --build build > /dev/null && cmake --build build --target clean && cmake --build build > /dev/null"#)
        .before(C_PROGRAM).needs(&["cmake", "cc"]),
    case("ccache, small and cleaned", r#"cd "$W/c" && export CCACHE_DIR="$W/.ccache" CCACHE_MAXSIZE=200k && make -s CC="ccache cc" && make -s clean && make -s CC="ccache cc" && ccache -C > /dev/null"#)
        .before(C_PROGRAM).needs(&["ccache", "make", "cc"]),
    case("sccache", r#"cd "$W/c" && export SCCACHE_DIR="$W/.sccache" SCCACHE_CACHE_SIZE=1M SCCACHE_SERVER_PORT=4299 && make -s CC="sccache cc" && make -s clean && make -s CC="sccache cc"; sccache --stop-server > /dev/null"#)
        .before(C_PROGRAM).needs(&["sccache", "make", "cc"]),
    case("git checkout between far branches", r#"cd "$W/r" && git checkout -q far && git checkout -q main && git switch -q far"#).before(REPOSITORY).needs(&["git"]),
    case("git rebase", r#"cd "$W/r" && git checkout -q far && git rebase -q main"#).before(REPOSITORY).needs(&["git"]),
    case("git merge with many deletions", r#"cd "$W/r" && git merge -q -m merged far"#).before(REPOSITORY).needs(&["git"]),
    case("git stash", r#"cd "$W/r" && git stash -qu && git stash pop -q"#)
        .before(r#"git init -q "$W/r" && cd "$W/r" && for i in $(seq 500); do echo $i > $i; done && git add . && git commit -qm all && for i in $(seq 500); do echo more >> $i; echo new > new$i; done"#).needs(&["git"]),
    case("git reset --hard and bisect", r#"cd "$W/r" && git checkout -q far && git reset -q --hard main && git reset -q --hard far@{1}; git bisect start main far~1 > /dev/null 2>&1 && git bisect reset > /dev/null 2>&1"#).before(REPOSITORY).needs(&["git"]),
    case("git gc", r#"cd "$W/r" && git reflog expire --expire=now --all && git gc -q --prune=now"#).before(REPOSITORY).needs(&["git"]),
    case("git worktree remove", r#"cd "$W/r" && git worktree remove ../far"#)
        .before(r#"git init -q -b main "$W/r" && cd "$W/r" && for i in $(seq 500); do echo $i > $i; done && git add . && git commit -qm all && git worktree add -q ../far"#).needs(&["git"]),
    case("git clone, and remove the clone", r#"cd "$W" && git clone -q r clone && rm -rf clone"#).before(REPOSITORY).needs(&["git"]),
    case("pip install and uninstall", r#"cd "$W" && .venv/bin/pip -q uninstall -y requests pytest && .venv/bin/pip -q install requests && .venv/bin/pip -q uninstall -y requests urllib3 idna certifi"#).before(VENV).needs(&["python3"]),
    case("a venv built again", r#"cd "$W" && rm -rf .venv && python3 -m venv .venv"#).before(VENV).needs(&["python3"]),
    case("pytest with tmp_path", r#"cd "$W" && for i in 1 2 3 4 5; do .venv/bin/pytest -q t.py > /dev/null; done"#)
        .before(r#"cd "$W" && python3 -m venv .venv && .venv/bin/pip -q install pytest && printf 'import pytest\n@pytest.mark.parametrize("n", range(100))\ndef test(tmp_path, n):\n    for i in range(10): (tmp_path / str(i)).write_text("x")\n    (tmp_path / "0").unlink()\n' > t.py"#).needs(&["python3"]),
    case("byte-code churn", r#"cd "$W" && for i in 1 2 3; do python3 -m compileall -q m; find m -name __pycache__ -prune -exec rm -rf {} +; done"#)
        .before(r#"mkdir "$W/m" && cd "$W" && for i in $(seq 500); do echo "a = $i" > m/m$i.py; done && python3 -m compileall -q m"#).needs(&["python3"]),
    case("webpack, twice", r#"cd "$W/p" && for i in 1 2; do NODE_PATH="$T/node_modules" node "$T/node_modules/.bin/webpack" --mode production --entry ./src/index.js --output-clean -o dist > /dev/null || exit 1; done"#)
        .before(BUNDLE).tool("webpack", "webpack webpack-cli"),
    case("vite build, twice", r#"cd "$W/p" && for i in 1 2; do "$T/node_modules/.bin/vite" build --logLevel error || exit 1; done"#)
        .before(BUNDLE).tool("vite", "vite"),
    case("tsc", r#"cd "$W/p" && for i in 1 2; do "$T/node_modules/.bin/tsc" --outDir lib --module es2020 --target es2020 src/*.ts || exit 1; done"#)
        .before(r#"mkdir -p "$W/p/src" && cd "$W/p" && for i in $(seq 300); do echo "export const v$i: number = $i;" > src/m$i.ts; done; "$T/node_modules/.bin/tsc" --outDir lib --module es2020 --target es2020 src/*.ts"#).tool("tsc", "typescript"),
    case("prettier over 1,000 files", r#""$T/node_modules/.bin/prettier" --write --log-level error "$W/src""#).before(SCRIPTS).tool("prettier", "prettier"),
    case("sed -i over 500 files", r#"sed -i s/value/number/ "$W"/src/*"#).before(SOURCES),
    case("perl -pi over 500 files", r#"perl -pi -e s/value/number/ "$W"/src/*"#).before(SOURCES).needs(&["perl"]),
    case("a code generator rewrites 1,000 files", r#"for i in $(seq 1000); do echo "const b$i = { c: 2, d: [4, 5, 6] }; function g$i(y) { return y - $i }" > "$W/src/$i.js"; done"#).before(SCRIPTS),
    case("a patch over 500 files", r#"cd "$W" && patch -p1 < p.diff > /dev/null"#)
        .before(r#"mkdir "$W/src" && cd "$W" && for i in $(seq 500); do seq 50 > src/$i; done && cp -r src new && sed -i 's/^25$/twenty-five/' new/* && mkdir a b && cp -r src a/src && cp -r new b/src && diff -ru a b > p.diff; rm -rf a b new; true"#).needs(&["patch"]),
    case("cp over 500 files", r#"cp "$W"/new/* "$W/src/""#).before(r#"mkdir "$W/src" && for i in $(seq 500); do seq $i $((i + 50)) > "$W/src/$i"; done; cp -r "$W/src" "$W/new" && sed -i s/1/7/ "$W"/new/*"#),
    case("tar over 500 files", r#"tar -C "$W" -xf "$W/new.tar""#).before(r#"mkdir "$W/src" && for i in $(seq 500); do seq $i $((i + 50)) > "$W/src/$i"; done; tar -C "$W" -cf "$W/new.tar" src; sed -i s/1/7/ "$W"/src/*"#),
    case("unzip -o over 500 files", r#"cd "$W" && unzip -qo new.zip"#).before(r#"mkdir "$W/src" && cd "$W" && for i in $(seq 500); do seq $i $((i + 50)) > src/$i; done; zip -qr new.zip src; sed -i s/1/7/ src/*"#).needs(&["unzip", "zip"]),
    case("tar --overwrite over 500 files", r#"tar -C "$W" --overwrite -xf "$W/new.tar""#).before(r#"mkdir "$W/src" && for i in $(seq 500); do seq $i $((i + 50)) > "$W/src/$i"; done; tar -C "$W" -cf "$W/new.tar" src; sed -i s/1/7/ "$W"/src/*"#),
    case("rsync over 500 files", r#"rsync -a "$W/new/" "$W/src/""#).before(r#"mkdir "$W/src" && for i in $(seq 500); do seq $i $((i + 50)) > "$W/src/$i"; done; cp -r "$W/src" "$W/new" && sed -i s/1/77/ "$W"/new/*"#).needs(&["rsync"]),
    case("a tree renamed", r#"mv "$W/src" "$W/lib" && mkdir "$W/src" && mv "$W"/lib/* "$W/src/""#).before(SOURCES),
    case("rm -rf dist", r#"rm -rf "$W/dist""#).before(r#"mkdir "$W/dist" && for i in $(seq 500); do echo $i > "$W/dist/$i.js"; done"#),
    case("forty files removed, and a tree of its own", r#"rm "$W"/src/1*.txt "$W"/src/2?.txt || true; mkdir "$W/own" && for i in $(seq 2000); do echo $i > "$W/own/$i"; done; rm -rf "$W/own""#)
        .before(r#"mkdir "$W/src" && for i in $(seq 10 29); do echo $i > "$W/src/$i.txt"; done; for i in $(seq 100 119); do echo $i > "$W/src/$i.txt"; done"#),
    case("unpack and remove one's own tarball", r#"mkdir "$W/u" && tar -C "$W/u" -xf "$W/t.tar" && rm -rf "$W/u""#)
        .before(r#"mkdir "$W/t" && for i in $(seq 3000); do echo $i > "$W/t/$i"; done; tar -C "$W" -cf "$W/t.tar" t"#),
    case("temporary files by the thousand", r#"for i in $(seq 1000); do f=$(mktemp); g=$(mktemp -p "$W"); echo > "$f"; rm -f "$f" "$g"; done"#),
    case("log rotation", r#"logrotate -f -s "$S/state" "$W/conf" && logrotate -f -s "$S/state" "$W/conf""#)
        .before(r#"mkdir "$W/log" && for i in $(seq 30); do for n in "" .1 .2 .3; do seq 100 > "$W/log/$i.log$n"; done; done; printf '%s/*.log {\n rotate 3\n missingok\n create 0600 root root\n}\n' "$W/log" > "$W/conf"; chmod 755 "$W/log"; chmod 644 "$W/conf""#).needs(&["logrotate"]),
    case("sqlite at work, and compacted", r#"for i in $(seq 20); do sqlite3 "$W/$i.db" 'delete from t where a % 2; vacuum'; done"#)
        .before(r#"for i in $(seq 20); do sqlite3 "$W/$i.db" 'create table t(a); with recursive n(a) as (select 1 union all select a + 1 from n where a < 20000) insert into t select a from n'; done"#).needs(&["sqlite3"]),
    case("PostgreSQL: vacuum and recycled WAL", r#"runuser -u postgres -- sh -c 'cd "$1" && pg_ctl -s -w -D d -o "-k $1 -h \"\"" start && pgbench -q -h "$1" -i -s 2 postgres > /dev/null 2>&1 && psql -q -h "$1" -c "vacuum full pgbench_accounts" -c checkpoint postgres && for i in 1 2 3 4; do psql -q -h "$1" -c "update pgbench_accounts set abalance = $i where aid > 0" -c checkpoint -c vacuum postgres; done; pg_ctl -s -w -D d -m fast stop' sh "$W/pg""#)
        .before(r#"mkdir "$W/pg" && chown postgres "$W/pg" && chmod 711 "$W" && runuser -u postgres -- initdb -D "$W/pg/d" --wal-segsize=1 -A trust > /dev/null && printf 'max_wal_size = 3MB\nmin_wal_size = 2MB\n' >> "$W/pg/d/postgresql.conf""#).needs(&["initdb", "pg_ctl", "pgbench", "psql", "runuser"]),
    case("a package reinstalled in a chroot", r#"chroot "$W/root" sh -c 'DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --reinstall tzdata coreutils perl-base > /dev/null 2>&1'"#)
        .before(r#"debootstrap --variant=minbase --include=tzdata stable "$W/root" > /dev/null && cp /etc/resolv.conf "$W/root/etc/""#).needs(&["debootstrap"]),
    case("layers on an overlay", r#"for i in 1 2 3; do mkdir -p "$W/m/usr/lib/new" && for f in $(seq 500); do echo $f > "$W/m/usr/lib/new/$f"; done; rm -rf "$W/m/usr/lib/new"; done; sed -i s/a/b/ "$W"/m/low/*"#)
        .before(r#"mkdir -p "$W/l/low" "$W/u" "$W/w" "$W/m" && mount -t tmpfs none "$W/u" && mkdir "$W/u/u" "$W/u/w" && for i in $(seq 300); do echo "a $i" > "$W/l/low/$i"; done; mount -t overlay -o "lowerdir=$W/l,upperdir=$W/u/u,workdir=$W/u/w" none "$W/m""#)
        .after(r#"umount "$W/m"; umount "$W/u""#),
    case("latexmk -C, 20 documents", r#"cd "$W/tex" && latexmk -C > /dev/null 2>&1"#)
        .before(r#"mkdir "$W/tex" && cd "$W/tex" && for i in $(seq 20); do printf '\\documentclass{article}\\begin{document}x\\end{document}' > p$i.tex; for e in aux log fls fdb_latexmk pdf toc; do echo > p$i.$e; done; done"#).needs(&["latexmk"]),
    case("editor swap and backup files", r#"for i in $(seq 500); do cp "$W/src/$i.txt" "$W/src/$i.txt~"; echo edited >> "$W/src/$i.txt"; mv "$W/src/$i.txt" "$W/src/.$i.swp"; mv "$W/src/.$i.swp" "$W/src/$i.txt"; rm "$W/src/$i.txt~"; done"#).before(SOURCES),
];
