CREATE TABLE "schedules" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "schedules_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"deployment_id" bigint NOT NULL,
	"name" text NOT NULL,
	"operation" text NOT NULL,
	"cron" text NOT NULL,
	"time_zone" text NOT NULL,
	"is_paused" boolean DEFAULT false NOT NULL,
	"type" text,
	"host_id" bigint,
	"store_id" bigint,
	"name_pattern" text,
	"description" text,
	"keep_days" integer,
	"keep_last" integer,
	"recipient" text,
	"wrapped_identity" text,
	"next_run" timestamp with time zone,
	"last_run" timestamp with time zone,
	"last_outcome" text,
	"last_reason" text,
	"created_by" text NOT NULL,
	"time_created" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "schedule_name" UNIQUE("deployment_id","name")
);
--> statement-breakpoint
CREATE TABLE "workers" (
	"id" uuid PRIMARY KEY NOT NULL,
	"machine" text NOT NULL,
	"host_ids" bigint[],
	"time_started" timestamp with time zone DEFAULT now() NOT NULL,
	"time_seen" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
ALTER TABLE "backups" ADD COLUMN "problem_details" text[] DEFAULT '{}' NOT NULL;--> statement-breakpoint
ALTER TABLE "backups" ADD COLUMN "unreadable_files" text[] DEFAULT '{}' NOT NULL;--> statement-breakpoint
ALTER TABLE "backups" ADD COLUMN "size_added" bigint;--> statement-breakpoint
ALTER TABLE "backups" ADD COLUMN "base_backup_id" bigint;--> statement-breakpoint
ALTER TABLE "backups" ADD COLUMN "shared_keys" text;--> statement-breakpoint
ALTER TABLE "backups" ADD COLUMN "is_kept" boolean DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE "backups" ADD COLUMN "schedule_id" bigint;--> statement-breakpoint
ALTER TABLE "backups" ADD COLUMN "time_verified" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "backups" ADD COLUMN "last_drill" jsonb;--> statement-breakpoint
ALTER TABLE "backups" ADD COLUMN "origin" jsonb;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "store_id" bigint;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "schedule_id" bigint;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "groups" text[];--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "unreadable_files" text[] DEFAULT '{}' NOT NULL;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "result" jsonb;--> statement-breakpoint
ALTER TABLE "stores" ADD COLUMN "s3" jsonb;--> statement-breakpoint
ALTER TABLE "stores" ADD COLUMN "total_bytes" bigint;--> statement-breakpoint
ALTER TABLE "stores" ADD COLUMN "free_bytes" bigint;--> statement-breakpoint
ALTER TABLE "stores" ADD COLUMN "is_scanned" boolean DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE "schedules" ADD CONSTRAINT "schedules_deployment_id_deployments_id_fk" FOREIGN KEY ("deployment_id") REFERENCES "public"."deployments"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "schedules" ADD CONSTRAINT "schedules_host_id_hosts_id_fk" FOREIGN KEY ("host_id") REFERENCES "public"."hosts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "schedules" ADD CONSTRAINT "schedules_store_id_stores_id_fk" FOREIGN KEY ("store_id") REFERENCES "public"."stores"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "schedule_due" ON "schedules" USING btree ("next_run") WHERE not "schedules"."is_paused";--> statement-breakpoint
ALTER TABLE "backups" ADD CONSTRAINT "backups_schedule_id_schedules_id_fk" FOREIGN KEY ("schedule_id") REFERENCES "public"."schedules"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "jobs" ADD CONSTRAINT "jobs_store_id_stores_id_fk" FOREIGN KEY ("store_id") REFERENCES "public"."stores"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "jobs" ADD CONSTRAINT "jobs_schedule_id_schedules_id_fk" FOREIGN KEY ("schedule_id") REFERENCES "public"."schedules"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "backup_by_schedule" ON "backups" USING btree ("schedule_id");