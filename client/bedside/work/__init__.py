"""The work list: how each study stands, and where its files are.

states        how a study stands, as a table; database: the tables it is kept in
arrival       one instance as it came; identities: whose it is
work_list     studies come, wait, are read; bell: wakes who waits for a change;
              completeness: when one is complete
sendings      results on their way; rooms: where files are
looking       the list for a person, who is noted; retention: when identities are forgotten
"""
