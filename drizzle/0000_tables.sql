CREATE TABLE "backup_configurations" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "backup_configurations_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"deployment_id" bigint NOT NULL,
	"number" bigint NOT NULL,
	"retention_period_days" integer NOT NULL,
	"data_backup_hosts" bigint[] NOT NULL,
	"is_deployed" boolean NOT NULL,
	CONSTRAINT "configuration_number" UNIQUE("deployment_id","number")
);
--> statement-breakpoint
CREATE TABLE "backups" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "backups_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"deployment_id" bigint NOT NULL,
	"configuration_id" bigint,
	"host_id" bigint,
	"store_id" bigint NOT NULL,
	"name" text NOT NULL,
	"description" text,
	"type" text NOT NULL,
	"status" text NOT NULL,
	"former_status" text,
	"version" text NOT NULL,
	"build_version" text,
	"product" text,
	"appliance" text,
	"ha_role" text,
	"managed_host_addresses" text[] DEFAULT '{}' NOT NULL,
	"time_initiated" timestamp with time zone DEFAULT now() NOT NULL,
	"time_completed" timestamp with time zone,
	"initiated_by" text NOT NULL,
	"size_on_disk" bigint,
	"directory" text NOT NULL,
	"content_file_path" text,
	"groups" text[] NOT NULL,
	"recipient" text,
	"wrapped_identity" text,
	"file_problems" text[] DEFAULT '{}' NOT NULL,
	"retention_date" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "deployments" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "deployments_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"name" text NOT NULL,
	"kind" text NOT NULL,
	"product" text NOT NULL,
	"appliance" text NOT NULL,
	"version" text NOT NULL,
	"build_version" text,
	"is_default" boolean DEFAULT false NOT NULL,
	"is_rebalancing" boolean DEFAULT false NOT NULL,
	"has_undeployed_changes" boolean DEFAULT false NOT NULL,
	"file" jsonb NOT NULL,
	"staged" jsonb NOT NULL,
	"deployed" jsonb NOT NULL
);
--> statement-breakpoint
CREATE TABLE "feed" (
	"singleton" boolean PRIMARY KEY DEFAULT true NOT NULL,
	"id" uuid DEFAULT gen_random_uuid() NOT NULL,
	"floor" bigint DEFAULT 0 NOT NULL,
	CONSTRAINT "feed_has_one_row" CHECK ("feed"."singleton")
);
--> statement-breakpoint
CREATE TABLE "hosts" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "hosts_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"deployment_id" bigint NOT NULL,
	"number" bigint NOT NULL,
	"hostname" text NOT NULL,
	"address" text,
	"is_console" boolean NOT NULL,
	"status" text NOT NULL,
	"components" text[] NOT NULL,
	"version" text NOT NULL,
	"ha_role" text NOT NULL,
	CONSTRAINT "host_number" UNIQUE("deployment_id","number")
);
--> statement-breakpoint
CREATE TABLE "idempotency_keys" (
	"token" text NOT NULL,
	"mutation" text NOT NULL,
	"key" text NOT NULL,
	"input_mac" text NOT NULL,
	"backup_id" bigint,
	"restore_id" bigint,
	"job_id" bigint,
	"time_created" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "idempotency_keys_token_mutation_key_pk" PRIMARY KEY("token","mutation","key")
);
--> statement-breakpoint
CREATE TABLE "jobs" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "jobs_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"job_id" text NOT NULL,
	"deployment_id" bigint NOT NULL,
	"host_id" bigint,
	"operation" text NOT NULL,
	"status" text NOT NULL,
	"backup_id" bigint,
	"restore_id" bigint,
	"initiated_by" text NOT NULL,
	"bytes_done" bigint,
	"bytes_total" bigint,
	"files_done" bigint,
	"files_total" bigint,
	"messages" text[] DEFAULT '{}' NOT NULL,
	"error" text,
	"sealed_identity" text,
	"is_swapping" boolean DEFAULT false NOT NULL,
	"attempt" integer DEFAULT 0 NOT NULL,
	"epoch" integer DEFAULT 0 NOT NULL,
	"lease_until" timestamp with time zone,
	"time_submitted" timestamp with time zone DEFAULT now() NOT NULL,
	"time_started" timestamp with time zone,
	"time_updated" timestamp with time zone DEFAULT now() NOT NULL,
	"time_ended" timestamp with time zone,
	CONSTRAINT "job_id" UNIQUE("job_id")
);
--> statement-breakpoint
CREATE TABLE "lifecycles" (
	"kind" text NOT NULL,
	"from_status" text NOT NULL,
	"to_status" text NOT NULL,
	CONSTRAINT "lifecycles_kind_from_status_to_status_pk" PRIMARY KEY("kind","from_status","to_status")
);
--> statement-breakpoint
CREATE TABLE "restores" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "restores_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"deployment_id" bigint NOT NULL,
	"host_id" bigint,
	"backup_id" bigint,
	"status" text NOT NULL,
	"groups" text[] NOT NULL,
	"backup_name" text NOT NULL,
	"backup_version" text NOT NULL,
	"backup_type" text NOT NULL,
	"backup_filename" text,
	"is_cross_deployment_restore" boolean NOT NULL,
	"restore_site_host_id" bigint,
	"restore_site_event_collector_id" bigint,
	"initiated_by" text NOT NULL,
	"time_initiated" timestamp with time zone,
	"time_completed" timestamp with time zone,
	"is_removed" boolean DEFAULT false NOT NULL
);
--> statement-breakpoint
CREATE TABLE "stores" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "stores_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"name" text NOT NULL,
	"type" text NOT NULL,
	"path" text NOT NULL,
	"is_default" boolean NOT NULL,
	"requires_passcode" boolean NOT NULL,
	"is_declared" boolean NOT NULL,
	"is_prepared" boolean DEFAULT false NOT NULL,
	"status" text NOT NULL,
	"status_detail" text,
	CONSTRAINT "store_name" UNIQUE("name")
);
--> statement-breakpoint
CREATE TABLE "transitions" (
	"position" bigint PRIMARY KEY NOT NULL,
	"kind" text NOT NULL,
	"record_id" bigint NOT NULL,
	"label" text,
	"from_status" text,
	"to_status" text,
	"at" timestamp with time zone NOT NULL
);
--> statement-breakpoint
ALTER TABLE "backup_configurations" ADD CONSTRAINT "backup_configurations_deployment_id_deployments_id_fk" FOREIGN KEY ("deployment_id") REFERENCES "public"."deployments"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "backups" ADD CONSTRAINT "backups_deployment_id_deployments_id_fk" FOREIGN KEY ("deployment_id") REFERENCES "public"."deployments"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "backups" ADD CONSTRAINT "backups_configuration_id_backup_configurations_id_fk" FOREIGN KEY ("configuration_id") REFERENCES "public"."backup_configurations"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "backups" ADD CONSTRAINT "backups_host_id_hosts_id_fk" FOREIGN KEY ("host_id") REFERENCES "public"."hosts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "backups" ADD CONSTRAINT "backups_store_id_stores_id_fk" FOREIGN KEY ("store_id") REFERENCES "public"."stores"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "hosts" ADD CONSTRAINT "hosts_deployment_id_deployments_id_fk" FOREIGN KEY ("deployment_id") REFERENCES "public"."deployments"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "idempotency_keys" ADD CONSTRAINT "idempotency_keys_backup_id_backups_id_fk" FOREIGN KEY ("backup_id") REFERENCES "public"."backups"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "idempotency_keys" ADD CONSTRAINT "idempotency_keys_restore_id_restores_id_fk" FOREIGN KEY ("restore_id") REFERENCES "public"."restores"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "idempotency_keys" ADD CONSTRAINT "idempotency_keys_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "jobs" ADD CONSTRAINT "jobs_deployment_id_deployments_id_fk" FOREIGN KEY ("deployment_id") REFERENCES "public"."deployments"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "jobs" ADD CONSTRAINT "jobs_host_id_hosts_id_fk" FOREIGN KEY ("host_id") REFERENCES "public"."hosts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "jobs" ADD CONSTRAINT "jobs_backup_id_backups_id_fk" FOREIGN KEY ("backup_id") REFERENCES "public"."backups"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "jobs" ADD CONSTRAINT "jobs_restore_id_restores_id_fk" FOREIGN KEY ("restore_id") REFERENCES "public"."restores"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "restores" ADD CONSTRAINT "restores_deployment_id_deployments_id_fk" FOREIGN KEY ("deployment_id") REFERENCES "public"."deployments"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "restores" ADD CONSTRAINT "restores_host_id_hosts_id_fk" FOREIGN KEY ("host_id") REFERENCES "public"."hosts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "restores" ADD CONSTRAINT "restores_backup_id_backups_id_fk" FOREIGN KEY ("backup_id") REFERENCES "public"."backups"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "restores" ADD CONSTRAINT "restores_restore_site_host_id_hosts_id_fk" FOREIGN KEY ("restore_site_host_id") REFERENCES "public"."hosts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "restores" ADD CONSTRAINT "restores_restore_site_event_collector_id_hosts_id_fk" FOREIGN KEY ("restore_site_event_collector_id") REFERENCES "public"."hosts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "backup_name" ON "backups" USING btree ("deployment_id","name");--> statement-breakpoint
CREATE UNIQUE INDEX "one_running_backup" ON "backups" USING btree ("host_id") WHERE "backups"."status" in ('INITIALIZING', 'IN_PROGRESS', 'CANCELLING');--> statement-breakpoint
CREATE UNIQUE INDEX "backup_directory" ON "backups" USING btree ("store_id","directory");--> statement-breakpoint
CREATE INDEX "backup_by_time" ON "backups" USING btree ("time_initiated","id");--> statement-breakpoint
CREATE INDEX "backup_by_status" ON "backups" USING btree ("status","id");--> statement-breakpoint
CREATE INDEX "backup_by_host" ON "backups" USING btree ("host_id","id");--> statement-breakpoint
CREATE UNIQUE INDEX "one_default_deployment" ON "deployments" USING btree ("is_default") WHERE "deployments"."is_default";--> statement-breakpoint
CREATE INDEX "idempotency_key_by_time" ON "idempotency_keys" USING btree ("time_created");--> statement-breakpoint
CREATE INDEX "idempotency_key_of_backup" ON "idempotency_keys" USING btree ("backup_id") WHERE "idempotency_keys"."backup_id" is not null;--> statement-breakpoint
CREATE INDEX "job_to_claim" ON "jobs" USING btree ("id") WHERE "jobs"."status" in ('SUBMITTED', 'EXECUTING', 'CANCELLING');--> statement-breakpoint
CREATE INDEX "job_by_backup" ON "jobs" USING btree ("backup_id","id");--> statement-breakpoint
CREATE INDEX "job_by_restore" ON "jobs" USING btree ("restore_id","id");--> statement-breakpoint
CREATE UNIQUE INDEX "one_unfinished_restore" ON "restores" USING btree ("deployment_id") WHERE "restores"."status" in ('PENDING', 'REQUESTING', 'INITIALIZING', 'IN_PROGRESS') and not "restores"."is_removed";--> statement-breakpoint
CREATE UNIQUE INDEX "one_running_restore" ON "restores" USING btree ("deployment_id") WHERE "restores"."status" in ('REQUESTING', 'INITIALIZING', 'IN_PROGRESS');--> statement-breakpoint
CREATE INDEX "restore_by_backup" ON "restores" USING btree ("backup_id");--> statement-breakpoint
CREATE INDEX "transition_of_kind" ON "transitions" USING btree ("kind","position");--> statement-breakpoint
CREATE INDEX "transition_of_record" ON "transitions" USING btree ("kind","record_id","position");