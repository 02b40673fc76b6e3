#!/bin/sh
# Start a command without the variables of the object store that are empty: Prefect's pool of
# containers passes on all that its worker may have, and an empty region is no region.
for name in $(env | sed -n 's/^\(AWS_[A-Z0-9_]*\)=$/\1/p'); do
    unset "$name"
done
exec "$@"
