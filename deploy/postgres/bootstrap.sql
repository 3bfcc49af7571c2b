-- Prepares a database for Cell CRM: creates the programs' roles and the extension, and revokes dangerous functions from tenants' logins.
-- A superuser runs it once, connected to the product's database. It is idempotent, and it also upgrades a database whose programs
-- connected as superuser before:
--
--   psql --set=ON_ERROR_STOP=1 --dbname=cell --file=bootstrap.sql
--
-- Afterwards set the roles' passwords: alter role crm password '…', alter role gateway password '…', and the same for crm_monitor if it
-- is used. An empty line ends each statement, and no statement contains one. Some statements commit: do not run them in a transaction.

do $$ begin
  if current_setting('server_version_num')::int / 10000 not between 16 and 18 then
    raise exception 'PostgreSQL % is not supported: Cell CRM needs PostgreSQL 16, 17 or 18.', current_setting('server_version');
  end if;
  if not (select rolsuper from pg_roles where rolname = current_user) then
    raise exception 'bootstrap.sql must be run by a superuser, and % is none.', current_user;
  end if;
  if current_user = 'crm' or exists (select from pg_roles where oid = 10 and rolname = 'crm') then
    raise exception 'The superuser is called crm, and the cell''s own role bears that name: rename the superuser first.';
  end if;
end $$;

do $$ begin
  if to_regrole('crm') is null then create role crm; end if;
  if to_regrole('gateway') is null then create role gateway; end if;
  if to_regrole('crm_monitor') is null then create role crm_monitor; end if;
end $$;

-- The cell's role: creates a role and a schema for each tenant.
alter role crm login inherit createrole nosuperuser nocreatedb noreplication nobypassrls;

-- The gateway's role: owns the control plane's schema and nothing else.
alter role gateway login inherit nosuperuser nocreaterole nocreatedb noreplication nobypassrls;

-- For metrics exporters: reads statistics and no data.
alter role crm_monitor login inherit nosuperuser nocreaterole nocreatedb noreplication nobypassrls connection limit 5;

grant pg_monitor to crm, crm_monitor;

do $$ begin
  execute format('alter database %I owner to crm', current_database());
end $$;

create extension if not exists pg_trgm with schema public;

create schema if not exists gateway authorization gateway;

-- Functions that tenants' statements never need and that reach beyond their bounds; shared/postgres/src/hardening.ts gives the reasons.
do $$ declare door text; begin
  for door in
    select p.oid::regprocedure::text from pg_proc p
    where p.pronamespace = 'pg_catalog'::regnamespace and p.prorettype <> 'trigger'::regtype
      and p.proname ~ ('^(set_config|(query|cursor|table|schema|database)_to_xml.*|ts_stat|ts_rewrite|lo_.*|lo(read|write)'
        '|pg_notify|pg_logical_emit_message|pg_(try_)?advisory_(un)?lock.*|pg_sleep.*'
        '|pg_(relation|table|indexes|total_relation|database|tablespace)_size|pg_stat_get_.*)$')
      and exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) acl where acl.grantee = 0)
  loop
    execute format('revoke execute on function %s from public', door);
    execute format('grant execute on function %s to pg_monitor', door);
  end loop;
end $$;

do $$ declare door text; begin
  for door in
    select c.oid::regclass::text from pg_class c
    where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'v'
      and c.relname ~ '^(pg_stat.*|pg_locks|pg_cursors|pg_prepared_statements|pg_prepared_xacts)$'
      and exists (select from aclexplode(c.relacl) acl where acl.grantee = 0)
  loop
    execute format('revoke all on %s from public', door);
    execute format('grant select on %s to pg_monitor', door);
  end loop;
end $$;

revoke update on pg_settings from public;

revoke select on pg_largeobject_metadata from public;

grant select on pg_largeobject_metadata to pg_monitor;

-- Existing functions stay callable; only the owner may use DO blocks and new functions.
revoke usage on language plpgsql, sql from public;

grant usage on language plpgsql, sql to crm;

-- Transfers what a superuser created for the cell to the cell's role, one schema at a time: one transaction would need too many locks.
do $$ declare
  cell regrole := 'crm';
  one text;
  command text;
begin
  if to_regclass('crm.tenants') is null then return; end if;
  -- Collects the tables first: a table that an open query reads cannot be altered.
  foreach one in array array(
    select n.nspname::text from pg_namespace n
    where (n.nspname = 'crm' or exists (select from crm.tenants t where t.schema = n.nspname))
      and (n.nspowner <> cell or exists (select from pg_class c where c.relnamespace = n.oid and c.relowner <> cell)
        or exists (select from pg_proc p where p.pronamespace = n.oid and p.proowner <> cell)))
  loop
    for command in
      select format('alter schema %I owner to crm', one)
      union all
      -- Indexes and sequences of identity columns change with their tables.
      select format('alter table %s owner to crm', c.oid::regclass) from pg_class c
      where c.relnamespace = one::regnamespace and c.relkind in ('r', 'p', 'v', 'm') and c.relowner <> cell
      union all
      select format('alter sequence %s owner to crm', c.oid::regclass) from pg_class c
      where c.relnamespace = one::regnamespace and c.relkind = 'S' and c.relowner <> cell
        and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i'))
      union all
      select format('alter routine %s owner to crm', p.oid::regprocedure) from pg_proc p
      where p.pronamespace = one::regnamespace and p.proowner <> cell
    loop
      execute command;
    end loop;
    commit;
  end loop;
end $$;

do $$ declare routine text; begin
  for routine in
    select p.oid::regprocedure::text from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proowner <> 'crm'::regrole and (p.proname = 'expect_row' or p.proname like 'crm\_%')
      and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
  loop
    execute format('alter routine %s owner to crm', routine);
  end loop;
end $$;

-- The cell's role takes over the tenants' roles that a superuser created, and what that superuser granted to the shared login.
do $$ declare
  one record;
begin
  if to_regclass('crm.tenants') is null then return; end if;
  for one in
    select r.rolname as name from pg_roles r
    where (r.rolname = 'crm_shared' or exists (select from crm.tenants t where t.schema = r.rolname))
      and not exists (select from pg_auth_members m where m.roleid = r.oid and m.member = 'crm'::regrole and m.admin_option)
  loop
    execute format('grant %I to crm with admin true, inherit true, set true', one.name);
  end loop;
  for one in
    select m.roleid::regrole as role, m.grantor::regrole as grantor from pg_auth_members m
    where m.member = to_regrole('crm_shared') and m.grantor <> 'crm'::regrole
  loop
    execute format('revoke %s from crm_shared granted by %s', one.role, one.grantor);
    execute format('grant %s to crm_shared granted by crm', one.role);
  end loop;
end $$;
