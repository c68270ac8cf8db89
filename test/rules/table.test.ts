import { expect, test } from 'vitest';
import { RULES } from '../../src/domain/rules.ts';
import { MUTATIONS } from '../support/mutations.ts';

/** The documented numbers: code/status of each mutation, ours from 2001. */
const DOCUMENTED = {
  createBackup: '1000/500 1002/422 1003/422 1004/422 1005/409 1006/422 1007/422 1008/422 1009/422 1010/422 1011/409 1012/422 1013/422 1014/422 1015/409 1016/409 2001/422 2002/422 2003/422 2004/422 2005/409 2006/409 2012/404',
  updateBackup: '1000/500 1001/404 1008/422 2004/422',
  deleteBackup: '1000/500 1001/404 1017/422 2010/409',
  createRestore: '1000/500 1002/422 1003/422 1004/422 1005/422 1006/422 1007/422 1008/422 1009/422 1010/422 1011/409 2006/409',
  updateRestore: '1000/500 1001/404 1012/422 1013/422 1014/409 1015/409 1016/409 1030/422 1031/422 1032/422 1033/422 2002/422 2007/422 2011/422',
  deleteRestore: '1000/500 1001/404 1017/422',
  cancelJob: '1000/500 2008/404 2009/422',
  verifyBackup: '1000/500 1001/404 2014/422',
  drillRestore: '1000/500 1001/404 1005/422 1008/422 1010/422 2002/422 2007/422 2015/409',
  restorePlan: '1000/500 1004/422 1005/422 1006/422 1007/422 1008/422 1009/422 1010/422 2002/422 2007/422 2016/409',
  scanStore: '1000/500 2001/422',
  createSchedule: '1000/500 1002/422 1003/422 1004/422 1008/422 1009/422 1010/422 1012/422 1013/422 1014/422 2001/422 2002/422 2003/422 2012/404 2021/409 2022/422 2023/422 2024/422 2025/422 2026/422 2027/422 2028/422',
  updateSchedule: '1000/500 1002/422 1003/422 1004/422 1008/422 1009/422 1010/422 1012/422 1013/422 1014/422 2001/422 2002/422 2003/422 2020/404 2021/409 2022/422 2023/422 2024/422 2026/422 2027/422 2028/422',
  deleteSchedule: '1000/500 2020/404',
  applyRetention: '1000/500 2012/404',
  setRebalancing: '1000/500 2012/404',
  stageHost: '1000/500 1009/422',
  stageBackupConfiguration: '1000/500 1007/422 1009/422 1013/422 2013/422',
  deployStagedChanges: '1000/500 2012/404',
};

test('every mutation answers the documented codes with the documented HTTP statuses, and no others', () => {
  const table = Object.fromEntries(MUTATIONS.map((mutation) => [mutation, Object.values(RULES[mutation])
    .map(({ code, httpStatus }) => `${code}/${httpStatus}`).toSorted().join(' ')]));
  expect(table).toEqual(DOCUMENTED);
});

test('no two rules of a mutation share a code', () => {
  for (const mutation of MUTATIONS) {
    const codes = Object.values(RULES[mutation]).map(({ code }) => code);
    expect(new Set(codes).size, mutation).toBe(codes.length);
  }
});
