"""The words in which densitometers and hospitals name scans, as data: ten languages.

English, German, French, Spanish, Italian, Portuguese, Russian, Korean, Chinese and Japanese.
Each word stands under what it means, comma-separated; a word that means two things stands
under both, joined by a ``+``. A ``*`` at the end stands for any ending. Case, accents, width and
punctuation do not count (`shared.dicom.vendors.scan_names.folded`).

GE's own English names are those of real files and of enCORE's manual; the other words are
those of the trade in each language, not read off a scanner of that language (*unverified*).
"""

from __future__ import annotations

from typing import Final

#: What a word can mean -> the words.
VOCABULARY: Final[dict[str, str]] = {
    # --- the spine ---
    "spine": """
        spine, spinal, vertebra, vertebrae, vertebral, vertebrals, vert, column, backbone,
        wirbelsaule, wirbelsaeule, wirbelkorper, wirbelkoerper, wirbel, ws, rachis, colonne,
        colonne vertebrale, vertebre*, rachidien*, columna, columna vertebral, raquis,
        vertebral*, espina, espina dorsal, colonna, colonna vertebrale, rachide, spina, coluna,
        coluna vertebral, позвон*, 척추, 척추골, 추체, 脊柱, 脊椎, 椎体, 椎體, 脊椎骨""",
    "spine+lumbar": """
        lspine, l spine, ls spine, lsspine, lumbar spine, lumbosacral, lumbo sacral, l sp, lws,
        lendenwirbelsaule, lendenwirbelsaeule, lenden wirbelsaule, lenden ws, lumbalwirbelsaule,
        lumbalwirbelsaeule, rachis lombaire, colonne lombaire, columna lumbar, colonna lombare,
        rachide lombare, coluna lombar, lombosacral*, поясничн* отдел*, 요추, 요추부, 허리뼈,
        腰椎, 腰椎骨""",
    "lumbar": """
        lumbar, lumbal*, lumb, lenden, lombaire*, lombo*, lombar*, lumbares, lombari, lombare,
        поясн*, 요부, 腰部""",
    "thoracic": """
        thoracic, t spine, tspine, dorsal, d spine, bws, brustwirbelsaule, brustwirbelsaeule,
        thorakal*, thoracique, dorsale, dorsal*, toracic*, грудн*, 흉추, 胸椎""",
    "cervical": """
        cervical, c spine, cspine, hws, halswirbelsaule, halswirbelsaeule, zervikal*, cervical*,
        cervicale*, шейн*, 경추, 颈椎, 頸椎""",
    "whole": """
        whole spine, full spine, entire spine, thoracolumbar*, thoraco lumbar, toracolombar*,
        toracolumbar*, dorsolombaire, dorso lombaire, dorsolumbar*, ganze wirbelsaule,
        scoliosis, skoliose, scoliose, escoliosis, scoliosi, escoliose, сколиоз*, 전척추,
        척추측만, 全脊椎, 全脊柱, 脊柱侧弯, 側弯""",
    # --- the hip ---
    "hip": """
        hip, femur, femoral, femoral neck, femur neck, hip neck, neck of femur, proximal femur,
        prox femur, upper femur, hufte, huefte, huftgelenk, hueftgelenk, oberschenkel,
        oberschenkelhals, schenkelhals, oberschenkelknochen, femurhals, proximaler femur,
        proximales femur, hanche, col femoral, col du femur, femur proximal,
        extremite superieure du femur, cadera, cuello femoral, cuello de femur,
        cuello del femur, anca, femore, collo femorale, collo del femore, femore prossimale,
        femorale, quadril, colo do femur, colo femoral, colo de femur, бедр*, бедренн*,
        бедренн* кост*, шейк* бедр*, шейк* бедренн* кост*, шейк*, тазобедренн*,
        тазобедренн* сустав*, проксимальн* отдел* бедр*, проксимальн* отдел* бедренн* кост*,
        проксимальн* бедр*, 대퇴골, 대퇴, 대퇴부, 대퇴경부, 대퇴골경부, 대퇴 경부, 고관절,
        엉덩이, 골반 대퇴, 근위대퇴골, 근위 대퇴골, 股骨, 股骨颈, 股骨頸, 髋, 髋部, 髋关节, 髖,
        髖部, 髖關節, 股骨近端, 近端股骨, 大腿骨, 大腿骨頸部, 大腿骨近位部, 股関節, 大腿骨近位""",
    "hip+both": """
        hips, femurs, femora, femoren, huften, hueften, hanches, caderas, femures, femori,
        anche, quadris, both hips, бедра обе""",
    "hip+left": "linkshufte, левобедр*, lt hip, lt femur",
    "hip+right": "rt hip, rt femur",
    "femur": """
        atypical femur fracture, atypical femur, atypical femoral fracture, aff, full femur,
        full length femur, whole femur, lateral distal femur, distal femur, femur shaft""",
    # --- other parts ---
    "forearm": """
        forearm, fore arm, radius, ulna, wrist, distal radius, 33 radius, one third radius,
        unterarm, vorderarm, handgelenk, avant bras, avantbras, poignet, antebrazo, muneca,
        radio, avambraccio, polso, antebraco, punho, предплеч*, лучев*, лучев* кост*, запяст*,
        전완, 전완부, 아래팔, 요골, 손목, 前臂, 桡骨, 橈骨, 腕部, 前腕, 前腕骨, 手首""",
    "body": """
        total body, whole body, full body, totalbody, wholebody, body composition, body comp,
        tbody, wb, tb, body, corescan, composition, tbs body, total body less head, tblh,
        small animal body, ganzkorper*, ganzkoerper*, ganzer korper, ganzer koerper,
        korperzusammensetzung, gesamtkorper, gesamtkoerper, corps entier, corps complet,
        composition corporelle, cuerpo entero, cuerpo completo, cuerpo total,
        composicion corporal, corpo intero, total corpo, corpo totale, composizione corporea,
        corpo inteiro, corpo total, composicao corporal, все тело, всего тела, состав* тела,
        전신, 체성분, 全身, 体成分, 身体成分, 體成分, 体組成""",
    "knee": """
        knee, knees, knie, kniegelenk, genou, genoux, rodilla*, ginocch*, joelho*, колен*,
        коленн* сустав*, 무릎, 슬관절, 膝, 膝部, 膝关节, 膝關節, 膝関節""",
    "hand": "hand, hands, finger*, main, mano, mani, mao, кист*, рук*, 손, 手, 手部",
    "foot": """
        foot, feet, heel, calcaneus, ankle, fuss, ferse, sprunggelenk, pied, talon, cheville,
        pie, calcaneo, tobillo, piede, tallone, caviglia, pe, calcanhar, tornozelo, стоп*,
        пятк*, пяточн*, 발, 발목, 종골, 足, 跟骨, 足部, 踝, 踵骨""",
    "elsewhere": """
        chest, thorax, lung, abdomen, pelvis, skull, head, shoulder, humerus, elbow, tibia,
        fibula, rib, ribs, breast, leg, mandible, becken, brust, lunge, schadel, schaedel,
        schulter, ellenbogen, unterschenkel, rippe*, poumon*, bassin, crane, epaule, coude,
        jambe, sein, torax, pulmon*, craneo, hombro, codo, pierna, bacino, cranio, spalla,
        gomito, gamba, polmon*, bacia, ombro, cotovelo, perna, грудная клетка, легк*, таз, таза,
        череп*, плеч*, локт*, голен*, 흉부, 골반, 두개골, 어깨, 팔꿈치, 경골, 胸部, 骨盆, 骨盤,
        头颅, 頭部, 肩, 肘, 胫骨, 脛骨, 腹部, 복부""",
    # --- how it was looked at ---
    "frontal": """
        ap, pa, frontal, anteroposterior, antero posterior, anterior posterior, posteroanterior,
        postero anterior, posterior anterior, antpost, ant post, front, coronal, a p, p a,
        ap pa, frontale, face, de face, de frente, frente, frontal*, frontale*,
        anteroposteriore, antero posterieur, antero posteriore, anteropost*, прям*,
        прям* проекц*, пз, ар, па, передне задн*, переднезадн*, задне передн*, заднепередн*,
        фронтальн*, 전후, 전후면, 전후방, 전후방향, 정면, 후전, 正位, 前后位, 前後位, 前后,
        前後, 后前位, 後前位, 正面, 正面像, 前後方向""",
    "lateral": """
        lateral, lat, laterale, lateral*, seitlich*, seitl, seitenansicht, profil, de profil,
        lateral izquierda, perfil, de perfil, profilo, latero lateral*, laterolateral*, боков*,
        бок, боков* проекц*, латеральн*, 측면, 측방, 측면상, 侧位, 側位, 侧面, 側面, 側面像,
        側方""",
    "special": """
        oblique, obl, flexion, extension, bending, axial, schrag*, schraeg*, oblicu*, obliqu*,
        obliq*, axiale, funktionsaufnahme*, кос*, аксиальн*, 사위, 斜位, 軸位, 轴位""",
    # --- which of two ---
    "left": """
        left, l, lt, lft, links, linke, linker, linkes, linken, li, lks, gauche, g, izquierd*,
        izq, izda, izdo, sinistr*, sx, esquerd*, esq, лев*, 좌, 좌측, 왼쪽, 왼, 左, 左侧, 左側""",
    "right": """
        right, r, rt, rgt, rechts, rechte, rechter, rechtes, rechten, re, droit, droite, d, dte,
        derech*, dcha, dcho, destr*, dx, direit*, dir, прав*, 우, 우측, 오른쪽, 오른, 右, 右侧,
        右側""",
    "both": """
        dual, both, bilateral*, bilat, bil, double, beide*, beidseit*, beidseits, bds, doppel,
        deux, les deux, ambos, ambas, doble, entrambi, entrambe, doppio, doppia, duplo, dupla,
        двойн*, обе, оба, обоих, двусторонн*, 양, 양측, 양쪽, 듀얼, 双, 双侧, 雙, 雙側, 兩側,
        两侧, 両, 両側, デュアル""",
    # --- what for ---
    "assessment": """
        assessment, fracture assessment, fracture, fractures, morphometry, morphometric,
        beurteilung, bewertung, fraktur*, frakturbeurteilung, morphometrie, morphometri*,
        evaluation, fractur*, evaluacion, valoracion, fratur*, frattur*, valutazione,
        morfometr*, avaliacao, оцен*, перелом*, морфометр*, 평가, 골절, 골절평가, 评估, 評估,
        骨折, 骨折评估, 評価, 骨折評価, 計測""",
    "vfa": """
        lva, vfa, iva, lateral vertebral assessment, vertebral fracture assessment,
        instant vertebral assessment, 척추골절평가""",
    "vfa+frontal": "apva, ap vfa, ap va, ap lva, pa vfa",
    "orthopaedic": """
        ortho, orthopedic, orthopaedic, orthopad*, orthopaed*, orthoped*, ortopedic*,
        prosthesis, prosthetic, prothes*, prothetik, protesis, protesi, protese, periprosthetic,
        implant, implantat, endoprothese, hufttep, tep, эндопротез*, ортопед*, протез*,
        정형외과, 정형, 인공관절, 骨科, 假体, 人工関節, 整形, 人工骨頭""",
    "phantom": """
        phantom, qa, qc, quality assurance, quality control, calibration, calibration block,
        block phantom, fantom*, фантом*, fantome, fantome*, fantasma, fantoccio, kalibrierung,
        qualitatssicherung, qualitaetssicherung, калибров*, 팬텀, 体模, 體模, ファントム""",
    # --- what tells nothing about the view ---
    "filler": """
        scan, scans, dxa, dexa, bmd, bmc, density, densitometry, bone, bone density,
        standard, routine, default mode, quick, fast, array, mode, view, image, osteoporosis,
        prodigy, idxa, lunar, thin, thick, medium, auto, total, region, projection, std, the,
        of, a, and, with, knochendichte, knochendichtemessung, messung, aufnahme, dichte,
        osteodensitometrie, der, die, das, und, densitometrie, densite, osseuse, os, mesure, du,
        de, la, le, les, et, des, densitometria, densidad, osea, hueso, medida, del, el, y, los,
        densita, ossea, osseo, misura, della, il, e, di, densidade, osso, do, da, o,
        денситометр*, остеоденситометр*, плотност*, кост*, кости, костн*, проекц*, отдел*,
        снимок, исследование, и, 골밀도, 검사, 밀도, 骨密度, 检查, 檢查, 扫描, 掃描, 测量, 測量,
        検査, 測定, 撮影, の, 骨, 部, 位, 像, 片""",
    "nothing": """
        anonymized, anonymised, anonymous, anonymize, anonymise, anonymisiert, anonym, anon,
        anonymizado, anonimizado, anonimizada, anonimo, anonimizzato, anonimizzata, anonyme,
        anonymis*, deidentified, de identified, removed, redacted, deleted, hidden, unknown,
        unspecified, not specified, none, null, nil, empty, na, n a, default, unbekannt,
        entfernt, inconnu, supprime, desconocid*, eliminado, sconosciut*, rimosso, desconhecid*,
        removido, аноним*, обезличен*, неизвестн*, удален*, 익명, 익명화, 익명처리, 없음, 미상,
        匿名, 匿名化, 未知, 不明, 无, 無, なし""",
}
