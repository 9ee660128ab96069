//! Does what a management command says: arguments to deeds, results to JSON.
//!
//! Prevents that two doors answer the same command differently. Never decides: [`Management`] does.

use std::collections::BTreeSet;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};

use super::deeds::{Denied, Management};
use super::listing::Page;
use super::rosters::EntryInfo;
use super::table::{COMMANDS, Command, Deed, Right, find};
use super::values::Values;
use crate::migrate::What;

/// Does what `command` says. `values` were checked against it.
pub async fn perform<M: Management>(
    management: &M,
    command: &Command,
    values: Values,
) -> Result<Value, Denied> {
    // `check` has seen to it that required arguments are there.
    let aor = |at| {
        let who = values.address(at).map(|who| management.known_as(who));
        who.ok_or_else(|| Denied::Refused("address missing".into()))
    };
    let text = |at| values.text(at).unwrap_or_default();
    let page = Page::asked(command, &values);
    match command.deed {
        Deed::AccountAdd => {
            let account = aor(0)?;
            management.account_add(account.clone(), values.text(1)).await?;
            Ok(json!({ "account": account.as_str() }))
        }
        Deed::AccountRemove => {
            let mut removed = management.account_remove(aor(0)?).await?;
            removed.handed_over.sort_unstable();
            removed.destroyed.sort_unstable();
            Ok(plain(&removed))
        }
        Deed::AccountPasswd => {
            let account = aor(0)?;
            management.account_passwd(account.clone(), values.text(1).unwrap_or_default()).await?;
            Ok(json!({ "account": account.as_str() }))
        }
        Deed::AccountList => page.answer(&management.account_list(values.text(0), page.clone()).await?),
        Deed::AccountSettings => Ok(plain(&management.account_settings(aor(0)?).await?)),
        Deed::AccountSet => {
            let account = aor(0)?;
            management.account_set(account.clone(), text(1), text(2)).await?;
            Ok(plain(&management.account_settings(account).await?))
        }
        Deed::AccountBlocked => Ok(plain(&management.account_blocked(aor(0)?).await?)),
        Deed::AccountBlock | Deed::AccountUnblock => {
            let (account, user) = (aor(0)?, aor(1)?);
            let block = matches!(command.deed, Deed::AccountBlock);
            management.account_block(account.clone(), user.clone(), block).await?;
            Ok(json!({ "account": account.as_str(), "user": user.as_str() }))
        }
        Deed::DomainList => Ok(plain(&management.domain_list().await?)),
        Deed::DomainAdd => Ok(plain(&management.domain_add(text(0)).await?)),
        Deed::DomainRemove => {
            let domain = text(0);
            management.domain_remove(domain.clone()).await?;
            Ok(json!({ "domain": domain }))
        }
        Deed::ServerVersion => Ok(json!(concat!("imcd ", env!("CARGO_PKG_VERSION")))),
        Deed::ServerStatus => Ok(plain(&management.server_status().await?)),
        Deed::ServerStats => {
            let mut list = management.server_stats().await?;
            let wanted = values.text(0).unwrap_or_default();
            list.retain(|stat| stat.name.starts_with(&wanted));
            if list.is_empty() {
                return Err(Denied::NotFound(format!("no statistic {wanted}")));
            }
            Ok(plain(&list))
        }
        Deed::RoomList => page.answer(&management.room_list(values.text(0), page.clone()).await?),
        Deed::RoomShow => Ok(plain(&management.room_show(aor(0)?).await?)),
        Deed::RoomCreate => {
            let (owner, private) = (values.address(1), values.flag(2, "private"));
            Ok(plain(&management.room_create(aor(0)?, owner, private).await?))
        }
        Deed::RoomDestroy => {
            let room = aor(0)?;
            management.room_destroy(room.clone()).await?;
            Ok(json!({ "room": room.as_str() }))
        }
        Deed::RoomRename => Ok(plain(&management.room_set(aor(0)?, "title".into(), text(1)).await?)),
        Deed::RoomSet => Ok(plain(&management.room_set(aor(0)?, text(1), text(2)).await?)),
        Deed::RoomPost => {
            let room = aor(0)?;
            management.room_post(room.clone(), text(1)).await?;
            Ok(json!({ "room": room.as_str() }))
        }
        Deed::RoomHistory => {
            Ok(plain(&management.room_history(aor(0)?, values.count(1).unwrap_or(10)).await?))
        }
        Deed::MemberAdd => {
            let role = values.text(2).unwrap_or_else(|| "member".into());
            Ok(plain(&management.member_add(aor(0)?, aor(1)?, role).await?))
        }
        Deed::MemberRemove => {
            let (room, user) = (aor(0)?, aor(1)?);
            management.member_remove(room.clone(), user.clone()).await?;
            Ok(json!({ "room": room.as_str(), "user": user.as_str() }))
        }
        Deed::MemberRole => Ok(plain(&management.member_role(aor(0)?, aor(1)?, text(2)).await?)),
        Deed::BindingList => {
            let mut list = management.binding_list(values.address(0)).await?;
            list.sort_by(|a, b| (&a.account, &a.contact).cmp(&(&b.account, &b.contact)));
            page.answer(&page.cut(list, |binding| format!("{} {}", binding.account, binding.contact))?)
        }
        Deed::BindingDrop => {
            let account = aor(0)?;
            let dropped = management.binding_drop(account.clone(), values.text(1)).await?;
            Ok(json!({ "account": account.as_str(), "dropped": dropped }))
        }
        Deed::MessageBroadcast => {
            let (from, to) = (aor(0)?, values.people(2));
            let work = management.begin(command.name, format!("from {from}"))?;
            Ok(plain(&management.message_broadcast(from, text(1), to, work).await?))
        }
        Deed::ServerWork => Ok(plain(&management.works())),
        Deed::ServerReload => Ok(plain(&management.server_reload().await?)),
        Deed::ServerBackup => {
            let file = text(0);
            let work = management.begin(command.name, file.clone())?;
            let bytes = management.server_backup(PathBuf::from(&file), work).await?;
            Ok(json!({ "file": file, "bytes": bytes }))
        }
        Deed::ImportImc | Deed::ImportSilo | Deed::ImportSubscriber => {
            let what = match command.deed {
                Deed::ImportImc => What::Imc,
                Deed::ImportSilo => What::Silo,
                _ => What::Subscriber,
            };
            let source = values.source(0).ok_or_else(|| Denied::Refused("url missing".into()))?;
            let realm = values.text(2).filter(|realm| !realm.is_empty());
            let work = management.begin(command.name, source.to_string())?;
            Ok(plain(&management.import(what, source, values.flag(1, "dry_run"), realm, work).await?))
        }
        Deed::LogLevel => {
            let level = management.log_level(values.text(0)).await?;
            Ok(json!({ "level": level }))
        }
        Deed::MemberList => {
            let list = management.member_list(aor(0)?).await?;
            page.answer(&page.cut(list, |member| member.user.clone())?)
        }
        Deed::OfflineList => page.answer(&management.offline_list(values.address(0), page.clone()).await?),
        Deed::OfflinePurge => {
            let account = aor(0)?;
            let purged = management.offline_purge(account.clone()).await?;
            Ok(json!({ "account": account.as_str(), "purged": purged }))
        }
        Deed::OfflineDeliver => {
            let account = aor(0)?;
            let (waiting, ways) = management.offline_deliver(account.clone()).await?;
            Ok(json!({ "account": account.as_str(), "waiting": waiting, "ways": ways }))
        }
        Deed::MessageSend => {
            let (from, to) = (aor(0)?, aor(1)?);
            management.message_send(from.clone(), to.clone(), values.text(2).unwrap_or_default()).await?;
            Ok(json!({ "from": from.as_str(), "to": to.as_str() }))
        }
        Deed::RosterList => {
            let list = management.roster_list(aor(0)?).await?;
            page.answer(&page.cut(list, |buddy| buddy.user.clone())?)
        }
        Deed::RosterAdd => {
            Ok(plain(&management.roster_add(aor(0)?, aor(1)?, values.text(2), values.text(3)).await?))
        }
        Deed::RosterRemove => Ok(plain(&management.roster_remove(aor(0)?, aor(1)?).await?)),
        Deed::RosterLink => Ok(plain(&management.roster_link(aor(0)?, aor(1)?, true).await?)),
        Deed::RosterUnlink => Ok(plain(&management.roster_link(aor(0)?, aor(1)?, false).await?)),
        Deed::RosterPut => Ok(plain(
            &management.roster_put(aor(0)?, aor(1)?, text(2), values.text(3), values.text(4)).await?,
        )),
        Deed::RosterDump => page.answer(&management.roster_dump(values.text(0), page.clone()).await?),
        Deed::RosterUsers => {
            let all = management.roster_dump(values.text(0), Page::ALL).await?;
            page.answer(
                &page
                    .cut(users(&all), |(account, _)| account.to_string())?
                    .into_iter()
                    .map(|(account, buddies)| json!({ "account": account, "buddies": buddies }))
                    .collect::<Vec<_>>(),
            )
        }
        Deed::RosterLinks => {
            let all = management.roster_dump(values.text(0), Page::ALL).await?;
            page.answer(
                &page
                    .cut(links(&all), |(account, user)| format!("{account} {user}"))?
                    .into_iter()
                    .map(|(account, user)| json!({ "account": account, "user": user }))
                    .collect::<Vec<_>>(),
            )
        }
        Deed::RosterClear => Ok(json!({ "removed": management.roster_clear(text(0)).await? })),
        Deed::RosterSync => {
            Ok(plain(&management.roster_sync(text(0), values.text(1), values.flag(2, "dry_run")).await?))
        }
        Deed::PresenceShow => Ok(plain(&management.presence_show(aor(0)?).await?)),
        Deed::PresenceSet => {
            let (state, note) = (values.text(1).unwrap_or_default(), values.text(2).unwrap_or_default());
            Ok(plain(&management.presence_set(aor(0)?, state, note).await?))
        }
        Deed::AvatarSet => {
            let data = values.data(1).unwrap_or_default();
            Ok(plain(&management.avatar_set(aor(0)?, data).await?))
        }
        Deed::AvatarGet => {
            let (info, data) = management.avatar_get(aor(0)?).await?;
            let mut result = plain(&info);
            result["data"] = STANDARD.encode(data).into();
            Ok(result)
        }
        Deed::AvatarRemove => {
            let account = aor(0)?;
            management.avatar_remove(account.clone()).await?;
            Ok(json!({ "account": account.as_str() }))
        }
        // Where it can be done, the door does it.
        Deed::Tail => {
            Err(Denied::Refused("this door cannot be followed; the Unix socket and POST /rpc can".into()))
        }
        // As OpenSIPS' clients ask at their start: names, or for one command its list of parameter lists.
        Deed::Which => Ok(match values.text(0).as_deref().and_then(find) {
            None => COMMANDS.iter().map(|c| c.name).collect(),
            Some(c) => json!([c.args.iter().map(|a| a.name).collect::<Vec<_>>()]),
        }),
        Deed::Help => {
            let wanted = values.text(0);
            let all = COMMANDS.iter().filter(|c| wanted.as_deref().is_none_or(|name| c.name == name));
            let line = |c: &Command| json!({ "command": c.name, "usage": c.usage(), "help": c.help, "changes": c.right == Right::Manage });
            Ok(all.map(line).collect())
        }
    }
}

/// Whose rosters they are, and how long each is. Entries of one roster stand together.
fn users(entries: &[EntryInfo]) -> Vec<(&str, usize)> {
    let rosters = entries.chunk_by(|a, b| a.account == b.account);
    rosters.map(|roster| (roster[0].account.as_str(), roster.len())).collect()
}

/// Each pair once, under the address that comes first.
fn links(entries: &[EntryInfo]) -> Vec<(&str, &str)> {
    let pairs: BTreeSet<(&str, &str)> = entries
        .iter()
        .filter(|entry| entry.sight == "both")
        .map(|entry| match entry.account < entry.user {
            true => (entry.account.as_str(), entry.user.as_str()),
            false => (entry.user.as_str(), entry.account.as_str()),
        })
        .collect();
    pairs.into_iter().collect()
}

fn plain(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("structs of strings, numbers and booleans have a JSON form")
}
