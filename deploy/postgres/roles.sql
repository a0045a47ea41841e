-- Schemas and roles of TMWS. Run as an admin (superuser, or CREATEROLE with CREATE on the database)
-- inside the database TMWS shall use, as often as you like:
--
--   PGOPTIONS="-c tmws.task_password=… -c tmws.workflow_password=… -c tmws.persona_password=…
--              -c tmws.memory_password=… -c tmws.gateway_password=…" psql -X -v ON_ERROR_STOP=1 -f roles.sql
--
-- A password that is left out leaves the role's password as it is. tmws.connection_limit (default 40)
-- caps the connections of each role, so that one service cannot starve the others.
-- PostgreSQL 14 or newer. Plain SQL without psql commands: any driver can send the file as one batch.

BEGIN;

-- An advisory lock holds within one database; roles belong to the whole server, hence the retries below.
SELECT pg_advisory_xact_lock(7308895164);

CREATE OR REPLACE FUNCTION pg_temp.ensure_extension() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') THEN
    CREATE EXTENSION vector SCHEMA public;
  END IF;
EXCEPTION
  WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'the extension "vector" is not installed and % may not install it', current_user
      USING HINT = 'Ask a superuser to run in this database: CREATE EXTENSION vector SCHEMA public';
  WHEN undefined_file OR feature_not_supported THEN
    RAISE EXCEPTION 'this server has no extension "vector" (pgvector)'
      USING HINT = 'Install the pgvector package for this version of PostgreSQL on the server';
END $$;

CREATE OR REPLACE FUNCTION pg_temp.ensure_role(role name, password text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  -- An admin who is no superuser must be a member of the role to hand a schema over to it.
  membership text := CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
    IF coalesce(password, '') = '' THEN
      RAISE EXCEPTION 'role % does not exist yet and has no password', role
        USING HINT = format('Set the option tmws.%s_password', substr(role, 6));
    END IF;
    EXECUTE format('CREATE ROLE %I', role);
  END IF;
  EXECUTE format('ALTER ROLE %I LOGIN CONNECTION LIMIT %s', role,
                 coalesce(nullif(current_setting('tmws.connection_limit', true), ''), '40')::integer);
  EXECUTE format('ALTER ROLE %I SET statement_timeout = %L', role, '15s');
  EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = %L', role, '15s');
  IF NOT pg_has_role(current_user, role, membership) THEN
    EXECUTE format('GRANT %I TO %I', role, current_user);
  END IF;
  IF coalesce(password, '') <> '' THEN
    EXECUTE format('ALTER ROLE %I PASSWORD %L', role, password);
  END IF;
END $$;

CREATE OR REPLACE FUNCTION pg_temp.ensure_schema(schema name, role name) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  owner name := (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = schema);
BEGIN
  IF owner IS NULL THEN
    EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', schema, role);
  ELSIF owner <> role THEN
    EXECUTE format('ALTER SCHEMA %I OWNER TO %I', schema, role);
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role);
  EXECUTE format('ALTER ROLE %I SET search_path = %I', role, schema);
END $$;

-- Only memory may use the vector type.
CREATE OR REPLACE FUNCTION pg_temp.ensure_vector_access() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  home name := (SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                WHERE extname = 'vector');
BEGIN
  EXECUTE format('ALTER ROLE tmws_memory SET search_path = memory, %I', home);
  IF NOT has_schema_privilege('tmws_memory', home, 'USAGE') THEN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO tmws_memory', home);
  END IF;
EXCEPTION WHEN insufficient_privilege THEN
  RAISE EXCEPTION 'tmws_memory may not use the schema %, where the extension "vector" is, and % may not allow it', home, current_user
    USING HINT = format('Ask its owner to run in this database: GRANT USAGE ON SCHEMA %I TO tmws_memory', home);
END $$;

-- Two databases that change the same role at one moment collide; the later one tries again.
CREATE OR REPLACE FUNCTION pg_temp.ensure_service(service name) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  role name := 'tmws_' || service;
BEGIN
  FOR attempt IN 1..200 LOOP
    BEGIN
      PERFORM pg_temp.ensure_role(role, current_setting(format('tmws.%s_password', service), true));
      PERFORM pg_temp.ensure_schema(service, role);
      IF service = 'memory' THEN
        PERFORM pg_temp.ensure_vector_access();
      END IF;
      RETURN;
    EXCEPTION WHEN duplicate_object OR unique_violation OR internal_error THEN
      IF attempt = 200 THEN
        RAISE;
      END IF;
      PERFORM pg_sleep(0.005 + random() * 0.02);
    END;
  END LOOP;
END $$;

-- What everyone may do in a database and in the schema public, only its owner can take away.
CREATE OR REPLACE FUNCTION pg_temp.revoke_from_public() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF (SELECT pg_has_role(current_user, datdba, 'USAGE') FROM pg_database WHERE datname = current_database()) THEN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  END IF;
  IF (SELECT pg_has_role(current_user, nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'public') THEN
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
  END IF;
END $$;

-- Always in this order, so that two runs never wait for each other in a circle.
DO $$
BEGIN
  PERFORM pg_temp.ensure_extension();
  PERFORM pg_temp.revoke_from_public();
  PERFORM pg_temp.ensure_service('gateway');
  PERFORM pg_temp.ensure_service('memory');
  PERFORM pg_temp.ensure_service('persona');
  PERFORM pg_temp.ensure_service('task');
  PERFORM pg_temp.ensure_service('workflow');
END $$;

COMMIT;
