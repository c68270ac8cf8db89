/**
 * The documents a newcomer finds in GraphiQL's tabs. A tab takes its name from its first named operation, which
 * GraphiQL looks for with a pattern in every line that does not begin with `#`. Lines end by column 55: the editor
 * does not wrap them, and shows no more on a laptop's screen.
 */

/** One tab of GraphiQL as it is before anybody has typed in it. */
export type ExampleTab = { query: string; variables?: string };

const list = `# Backup Gateway in four tabs, to run and to edit.
# Run: the pink button or Ctrl-Enter (Mac: Cmd-Enter).
# Complete a name: Ctrl-Space. The icon at the top left
# opens the documentation of every type and field.

query List {
  backups(
    first: 20
    orderBy: { field: ID, direction: DESC }
  ) {
    totalCount
    nodes {
      id
      name
      type
      status
      isValid
      sizeOnDisk
      timeCompleted
      groups
    }
    pageInfo { hasNextPage endCursor }
  }
  # The end of the feed of status changes at this
  # moment: who subscribes after it misses nothing.
  feedCursor
}
`;

const create = `# Starts a real backup. The tab Watch shows how it goes.
#
# A name can be used once: edit it before you run this
# again. The same name answers NAME_NOT_UNIQUE (1005),
# as data like any other answer. Try it.

mutation Create {
  createBackup(
    input: {
      name: "my-first-backup"
      type: CONFIG
      configurationId: "1"
    }
  ) {
    ... on CreateBackupPayload {
      backup { id name status }
      job { jobId status url }
    }
    ... on RuleViolations {
      message
      violations { rule code message path }
    }
  }
}
`;

const watch = `# Every status change as it happens, newest first.
#
# 1. Run this. It goes on until you stop it.
# 2. Run the tab Create. This one goes on meanwhile.
# 3. Come back and run this again: you see what has
#    come, and it is live again.
#
# A client that lost its connection gives the cursor it
# saw last, and gets exactly what it missed. Try it:
# write { "after": "a cursor" } into Variables below.

subscription Watch($after: String) {
  backupStatusChanged(after: $after) {
    cursor
    backupName
    from
    to
    at
  }
}
`;

const restore = `# In three steps. The pink button lets you choose one.
#
# 1. Restore prepares, and changes no file yet. Put the
#    id of a CONFIG backup that is SUCCESS and isValid
#    (tab List) into Variables below, as backupId.
# 2. StartRestore does it. Put the id that Restore gave
#    into Variables as restoreId. The groups will be as
#    in the backup: newer files go, deleted ones return.
# 3. RestoreStatus: run it until SUCCESS or FAILED.

mutation Restore(
  $backupId: ID!
  $groups: [ContentGroup!]!
) {
  createRestore(
    input: { backupId: $backupId, groups: $groups }
  ) {
    ... on CreateRestorePayload {
      restore { id status backupName groups }
    }
    ... on RuleViolations {
      message
      violations { rule code message path }
    }
  }
}

# An encrypted backup needs its passcode in the input.
# GraphiQL keeps what you type in this browser!
mutation StartRestore($restoreId: ID!) {
  updateRestore(
    input: { id: $restoreId, status: REQUESTING }
  ) {
    ... on UpdateRestorePayload {
      restore { id status }
      job { jobId status }
    }
    ... on RuleViolations {
      message
      violations { rule code message path }
    }
  }
}

query RestoreStatus($restoreId: ID!) {
  restore(id: $restoreId) {
    status
    timeCompleted
    job {
      status
      error
      progress { percent filesDone filesTotal }
    }
  }
}
`;

const restoreVariables = { backupId: '1', groups: ['DEPLOYMENT_CONFIG'], restoreId: '1' };

/** The tabs of a first visit, in their order: List, Create, Watch, Restore. */
export const exampleTabs: readonly ExampleTab[] = [
  { query: list },
  { query: create },
  { query: watch },
  { query: restore, variables: JSON.stringify(restoreVariables, null, 2) },
];
