#!/bin/sh
# Runs bootstrap.sql by psql and sets the passwords of the programs' roles from CRM_PASSWORD and GATEWAY_PASSWORD. PGHOST, PGDATABASE, PGUSER
# and PGPASSWORD must connect to the database as a superuser.
set -eu
sql() { psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 "$@"; }

# In a database of an earlier version the superuser has the name of the cell's role. A session cannot rename its own role, so another
# superuser does.
if ! sql --command='select 1' >/dev/null 2>&1; then
  echo "There is no superuser $PGUSER yet: the superuser crm gets that name."
  sql --username=crm --set=password="$PGPASSWORD" <<'SQL'
drop role if exists cell_crm_rename;
create role cell_crm_rename superuser login password :'password';
SQL
  sql --username=cell_crm_rename --set=name="$PGUSER" <<'SQL'
alter role crm rename to :"name";
SQL
  sql --command='drop role cell_crm_rename'
fi

sql --file="$(dirname "$0")/bootstrap.sql"
sql --set=crm="$CRM_PASSWORD" --set=gateway="$GATEWAY_PASSWORD" <<'SQL'
alter role crm password :'crm';
alter role gateway password :'gateway';
SQL
