-- Wakes whoever waits on a channel. A session that has backup_gateway.wake = 'bus' hears of it itself, by a notice of a
-- SQLSTATE of its own, and passes it on once its transaction is committed (src/db/wakes.ts); any other one notifies.
create function wake(channel text, payload text) returns void language plpgsql as $$
begin
  if current_setting('backup_gateway.wake', true) = 'bus' then
    raise notice using errcode = 'BGWAK', message = channel, detail = payload;
  else
    perform pg_notify(channel, payload);
  end if;
end $$;
--> statement-breakpoint
-- As in 0001_status_feed.sql, but that it wakes by the function above.
create or replace function record_transition() returns trigger language plpgsql as $$
declare
  next_position bigint;
  was text;
  becomes text;
  record bigint;
  name text;
begin
  if tg_op <> 'INSERT' then was := old.status; record := old.id; end if;
  if tg_op <> 'DELETE' then becomes := new.status; record := new.id; end if;
  if tg_argv[0] = 'BACKUP' then name := case when tg_op = 'DELETE' then old.name else new.name end; end if;
  if tg_argv[0] = 'JOB' then name := new.job_id; end if;
  -- A restore that deleteRestore took away is gone for everybody, although its row stays until it ends.
  if tg_argv[0] = 'RESTORE' and tg_op = 'UPDATE' then
    if old.is_removed then return null; end if;
    if new.is_removed then becomes := null; end if;
  end if;
  perform pg_advisory_xact_lock(7310001);
  next_position := nextval('feed_position');
  insert into transitions (position, kind, record_id, label, from_status, to_status, at)
    values (next_position, tg_argv[0], record, name, was, becomes, clock_timestamp());
  perform wake('backup_gateway_feed', next_position::text);
  return null;
end $$;
--> statement-breakpoint
create or replace function wake_workers() returns trigger language plpgsql as $$
begin
  perform wake('backup_gateway_jobs', new.id::text);
  return null;
end $$;
