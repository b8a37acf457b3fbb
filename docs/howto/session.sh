# Shell helpers for the pages in docs/: . docs/howto/session.sh
# They need curl and python3. URL is the server, TOKEN the token of `login`.
: "${URL:=http://127.0.0.1:8000}"

# login NAME PASSWORD: obtain a token.
login() {
    TOKEN=$(curl -s "$URL/omlusers/api/oauth2/v1/token" -H 'Content-Type: application/json' \
        -d "{\"grant_type\":\"password\",\"username\":\"$1\",\"password\":\"$2\"}" |
        sed 's/.*"accessToken":"\([^"]*\)".*/\1/')
}

# store FILE.py: store the function in FILE.py as the script FILE, or as its next version.
store() {
    python3 -c 'import json, sys
print(json.dumps({"source": open(sys.argv[1]).read(), "overwrite": True}))' "$1" |
        curl -s -X PUT "$URL/api/v1/scripts/$(basename "$1" .py)" \
            -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d @-
    echo
}

# run VERB/SCRIPT BODY [CURL OPTIONS]: run a script, as in `run index-apply/mean '{"times":3}'`.
run() {
    local path=$1 body=$2
    shift 2
    curl -s "$URL/oml/api/py-scripts/v2/$path" "$@" \
        -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d "$body"
    echo
}
