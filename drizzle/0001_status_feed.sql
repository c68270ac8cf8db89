-- The legal transitions, as in src/domain/lifecycle.ts. '' stands for "no record".
insert into lifecycles (kind, from_status, to_status) values
  ('BACKUP', '', 'INITIALIZING'),
  ('BACKUP', '', 'SUCCESS'),
  ('BACKUP', 'INITIALIZING', 'IN_PROGRESS'),
  ('BACKUP', 'IN_PROGRESS', 'SUCCESS'),
  ('BACKUP', 'INITIALIZING', 'FAILED'),
  ('BACKUP', 'IN_PROGRESS', 'FAILED'),
  ('BACKUP', 'INITIALIZING', 'CANCELLING'),
  ('BACKUP', 'IN_PROGRESS', 'CANCELLING'),
  ('BACKUP', 'CANCELLING', 'DELETING'),
  ('BACKUP', 'SUCCESS', 'DELETING'),
  ('BACKUP', 'FAILED', 'DELETING'),
  ('BACKUP', 'MISSING', 'DELETING'),
  ('BACKUP', 'DELETING', ''),
  ('BACKUP', 'DELETING', 'SUCCESS'),
  ('BACKUP', 'DELETING', 'FAILED'),
  ('BACKUP', 'DELETING', 'MISSING'),
  ('BACKUP', 'SUCCESS', 'MISSING'),
  ('BACKUP', 'MISSING', 'SUCCESS'),
  ('RESTORE', '', 'PENDING'),
  ('RESTORE', 'PENDING', 'REQUESTING'),
  ('RESTORE', 'REQUESTING', 'INITIALIZING'),
  ('RESTORE', 'INITIALIZING', 'IN_PROGRESS'),
  ('RESTORE', 'IN_PROGRESS', 'SUCCESS'),
  ('RESTORE', 'REQUESTING', 'FAILED'),
  ('RESTORE', 'INITIALIZING', 'FAILED'),
  ('RESTORE', 'IN_PROGRESS', 'FAILED'),
  ('RESTORE', 'REQUESTING', 'PENDING'),
  ('RESTORE', 'INITIALIZING', 'PENDING'),
  ('RESTORE', 'IN_PROGRESS', 'PENDING'),
  ('RESTORE', 'PENDING', ''),
  ('RESTORE', 'REQUESTING', ''),
  ('RESTORE', 'INITIALIZING', ''),
  ('RESTORE', 'IN_PROGRESS', ''),
  ('JOB', '', 'SUBMITTED'),
  ('JOB', 'SUBMITTED', 'EXECUTING'),
  ('JOB', 'EXECUTING', 'COMPLETED'),
  ('JOB', 'SUBMITTED', 'FAILED'),
  ('JOB', 'EXECUTING', 'FAILED'),
  ('JOB', 'SUBMITTED', 'CANCELLING'),
  ('JOB', 'EXECUTING', 'CANCELLING'),
  ('JOB', 'CANCELLING', 'CANCELLED');
--> statement-breakpoint
insert into feed default values;
--> statement-breakpoint
create sequence feed_position;
--> statement-breakpoint
-- Refuses every transition that is not in the table, whoever asks for it.
create function refuse_illegal_transition() returns trigger language plpgsql as $$
declare
  was text := '';
  becomes text := '';
begin
  if tg_op <> 'INSERT' then was := old.status; end if;
  if tg_op <> 'DELETE' then becomes := new.status; end if;
  if was <> becomes and not exists (
    select from lifecycles l where l.kind = tg_argv[0] and l.from_status = was and l.to_status = becomes
  ) then
    raise exception '% cannot go from "%" to "%"', tg_argv[0], was, becomes
      using errcode = 'check_violation', constraint = 'legal_transition';
  end if;
  if tg_op = 'DELETE' then return old; end if;
  return new;
end $$;
--> statement-breakpoint
create trigger backup_lifecycle before insert or update of status or delete on backups
  for each row execute function refuse_illegal_transition('BACKUP');
--> statement-breakpoint
create trigger restore_lifecycle before insert or update of status on restores
  for each row execute function refuse_illegal_transition('RESTORE');
--> statement-breakpoint
create trigger restore_removal before delete on restores
  for each row when (not old.is_removed) execute function refuse_illegal_transition('RESTORE');
--> statement-breakpoint
create trigger job_lifecycle before insert or update of status or delete on jobs
  for each row execute function refuse_illegal_transition('JOB');
--> statement-breakpoint
-- Writes one row of the feed. It runs when the transaction commits (the triggers below are deferred), takes the
-- feed's lock as the last thing of the transaction, and keeps it until the commit is visible: so positions are
-- in commit order, a reader that has seen N will never meet a smaller one later, and no lock is taken after it.
create function record_transition() returns trigger language plpgsql as $$
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
  perform pg_notify('backup_gateway_feed', next_position::text);
  return null;
end $$;
--> statement-breakpoint
create constraint trigger backup_created after insert on backups deferrable initially deferred
  for each row execute function record_transition('BACKUP');
--> statement-breakpoint
create constraint trigger backup_changed after update on backups deferrable initially deferred
  for each row when (old.status is distinct from new.status) execute function record_transition('BACKUP');
--> statement-breakpoint
create constraint trigger backup_gone after delete on backups deferrable initially deferred
  for each row execute function record_transition('BACKUP');
--> statement-breakpoint
create constraint trigger restore_created after insert on restores deferrable initially deferred
  for each row execute function record_transition('RESTORE');
--> statement-breakpoint
create constraint trigger restore_changed after update on restores deferrable initially deferred
  for each row when (old.status is distinct from new.status or old.is_removed is distinct from new.is_removed) execute function record_transition('RESTORE');
--> statement-breakpoint
create constraint trigger restore_gone after delete on restores deferrable initially deferred
  for each row when (not old.is_removed) execute function record_transition('RESTORE');
--> statement-breakpoint
create constraint trigger job_created after insert on jobs deferrable initially deferred
  for each row execute function record_transition('JOB');
--> statement-breakpoint
create constraint trigger job_changed after update on jobs deferrable initially deferred
  for each row when (old.status is distinct from new.status) execute function record_transition('JOB');
--> statement-breakpoint
-- Wakes workers: there is a job to claim, or to cancel. A hint only; they look for themselves as well.
create function wake_workers() returns trigger language plpgsql as $$
begin
  perform pg_notify('backup_gateway_jobs', new.id::text);
  return null;
end $$;
--> statement-breakpoint
create trigger job_submitted after insert on jobs for each row execute function wake_workers();
--> statement-breakpoint
create trigger job_cancelling after update of status on jobs
  for each row when (new.status in ('CANCELLING', 'CANCELLED')) execute function wake_workers();
