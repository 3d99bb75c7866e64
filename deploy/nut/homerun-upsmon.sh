#!/bin/sh
# NOTIFYCMD of NUT's upsmon: a machine that is about to be switched off checkpoints its run first.
#
# upsmon gives the sentence as $1 and the kind of event as $NOTIFYTYPE, and goes on without waiting.
# The hold ends by itself, because the machine may go off before ONLINE can be told; a hold that
# stayed would keep the run from starting again. HOMERUN names the command, $HOMERUN_TOKEN or a
# token file that this user may read is needed where the daemon asks for a token.
set -u

homerun=${HOMERUN:-homerun}
sentence=${1:-the UPS says ${NOTIFYTYPE:-nothing}}

tell() {
    # upsmon has no terminal: what goes wrong belongs into the system's log
    if said=$(timeout 20 "$homerun" "$@" 2>&1); then
        logger -t homerun-upsmon -- "$said" 2>/dev/null || true
        exit 0
    fi
    logger -t homerun-upsmon -p daemon.warning -- "homerun $1: $said" 2>/dev/null || true
    printf '%s\n' "$said" >&2
    exit 1
}

case ${NOTIFYTYPE:-} in
LOWBATT | FSD | SHUTDOWN) tell hold ups --for 20m --message "$sentence" ;;
ONLINE) tell unhold ups ;;
esac
