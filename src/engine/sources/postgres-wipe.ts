/**
 * Empties a database within a transaction, so that a dump finds what it expects: a database as initdb makes it. Without
 * this, what was added since the backup would stay, or keep the restore from replacing what it depends on.
 *
 * Roles, tablespaces and the database's own settings belong to the server and stay, and so do subscriptions, which Postgres
 * does not let go within a transaction.
 */

/** Objects of initdb have lower numbers. Source: FirstNormalObjectId in Postgres's access/transam.h. */
const FIRST_OWN = 16384;

/** Not part of an extension, which goes with it. */
const own = (catalog: string, alias: string): string => `${alias}.oid >= ${FIRST_OWN} AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.${catalog}'::pg_catalog.regclass AND d.objid = ${alias}.oid AND d.deptype = 'e')`;

export const WIPE = `DO $wipe$
DECLARE
  it record;
  person record;
BEGIN
  -- First, since they would run on what follows.
  FOR it IN SELECT evtname AS name FROM pg_catalog.pg_event_trigger t WHERE ${own('pg_event_trigger', 't')} LOOP
    EXECUTE pg_catalog.format('DROP EVENT TRIGGER %I', it.name);
  END LOOP;
  FOR it IN SELECT pubname AS name FROM pg_catalog.pg_publication p WHERE ${own('pg_publication', 'p')} LOOP
    EXECUTE pg_catalog.format('DROP PUBLICATION %I', it.name);
  END LOOP;
  -- One of another owner stays: its dump creates it only where it is not there.
  FOR it IN SELECT extname AS name FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql' AND pg_catalog.pg_has_role(extowner, 'USAGE') LOOP
    EXECUTE pg_catalog.format('DROP EXTENSION IF EXISTS %I CASCADE', it.name);
  END LOOP;
  FOR it IN SELECT nspname AS name FROM pg_catalog.pg_namespace n WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND (nspname = 'public' OR ${own('pg_namespace', 'n')}) LOOP
    EXECUTE pg_catalog.format('DROP SCHEMA %I CASCADE', it.name);
  END LOOP;
  PERFORM pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata;
  FOR it IN SELECT srvname AS name FROM pg_catalog.pg_foreign_server s WHERE ${own('pg_foreign_server', 's')} LOOP
    EXECUTE pg_catalog.format('DROP SERVER %I CASCADE', it.name);
  END LOOP;
  FOR it IN SELECT fdwname AS name FROM pg_catalog.pg_foreign_data_wrapper w WHERE ${own('pg_foreign_data_wrapper', 'w')} LOOP
    EXECUTE pg_catalog.format('DROP FOREIGN DATA WRAPPER %I CASCADE', it.name);
  END LOOP;
  FOR it IN SELECT lanname AS name FROM pg_catalog.pg_language l WHERE ${own('pg_language', 'l')} LOOP
    EXECUTE pg_catalog.format('DROP LANGUAGE %I CASCADE', it.name);
  END LOOP;
  FOR it IN SELECT pg_catalog.format_type(castsource, NULL) AS source, pg_catalog.format_type(casttarget, NULL) AS target
      FROM pg_catalog.pg_cast c WHERE ${own('pg_cast', 'c')} LOOP
    EXECUTE pg_catalog.format('DROP CAST (%s AS %s)', it.source, it.target);
  END LOOP;
  FOR it IN SELECT amname AS name FROM pg_catalog.pg_am a WHERE ${own('pg_am', 'a')} LOOP
    EXECUTE pg_catalog.format('DROP ACCESS METHOD %I CASCADE', it.name);
  END LOOP;
  -- Default privileges that hold in every schema: one that says what holds anyway is gone.
  FOR it IN SELECT a.defaclobjtype, r.rolname AS name, a.oid AS id, CASE a.defaclobjtype
      WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END AS kind
      FROM pg_catalog.pg_default_acl a JOIN pg_catalog.pg_roles r ON r.oid = a.defaclrole WHERE a.defaclnamespace = 0 LOOP
    FOR person IN SELECT DISTINCT CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(e.grantee)) END AS name
        FROM pg_catalog.pg_default_acl a, pg_catalog.aclexplode(a.defaclacl) e WHERE a.oid = it.id LOOP
      EXECUTE pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %I REVOKE ALL ON %s FROM %s', it.name, it.kind, person.name);
    END LOOP;
    EXECUTE pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT ALL ON %s TO %I', it.name, it.kind, it.name);
    IF it.defaclobjtype IN ('f', 'T') THEN
      EXECUTE pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT %s ON %s TO PUBLIC', it.name, CASE it.defaclobjtype WHEN 'f' THEN 'EXECUTE' ELSE 'USAGE' END, it.kind);
    END IF;
  END LOOP;
  -- As initdb makes it; a dump says only in what it differs from that.
  CREATE SCHEMA public;
  COMMENT ON SCHEMA public IS 'standard public schema';
  IF pg_catalog.current_setting('server_version_num')::int >= 150000 THEN
    GRANT USAGE ON SCHEMA public TO PUBLIC;
    ALTER SCHEMA public OWNER TO pg_database_owner;
  ELSE
    GRANT ALL ON SCHEMA public TO PUBLIC;
    IF pg_catalog.current_setting('is_superuser') = 'on' THEN
      EXECUTE pg_catalog.format('ALTER SCHEMA public OWNER TO %I', pg_catalog.pg_get_userbyid(10));
    END IF;
  END IF;
END
$wipe$;
`;
