# A small agent's day, in a temporary folder that it removes at the end.
set -eu
place=$(mktemp -d)
cd "$place"
echo '$ make a small project'
mkdir -p service/src
printf 'fn main() {\n    println!("hello");\n}\n' > service/src/main.rs
printf 'retries = 3\n' > service/settings.toml
printf 'keep me\n' > service/customers.db
if command -v git > /dev/null; then
    echo '$ put it under git'
    # Without the template's sample hooks, the removal at the end stays small.
    git -C service init -q --template= -b main
    git -C service add .
    git -C service -c user.name=agent -c user.email=agent@localhost commit -q -m 'first version'
fi
echo '$ edit a setting'
sed -i 's/3/30/' service/settings.toml
mv service/settings.toml service/config.toml
chmod 600 service/config.toml
echo '$ clean up, a little too much'
rm service/customers.db
cd /
rm -rf "$place"
